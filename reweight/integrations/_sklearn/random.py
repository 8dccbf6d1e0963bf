"""Random numbers of a fit's own, so that nobody else's move."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor


class OwnRandom:
    """The streams of random numbers of one training, which go on from fit to fit.

    Args:
        seed: Where they begin.
        device: Where the module is.
    """

    def __init__(self, seed: int, device: torch.device) -> None:
        self.seed: int = seed
        self.device: torch.device = device
        self._states: tuple[Tensor, Tensor | None] | None = None

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Let PyTorch's global streams be these ones, and put them back at the end."""
        kind = self.device.type
        elsewhere: Any = None if kind == "cpu" else torch.get_device_module(self.device)
        index: Any = self.device.index
        if index is None and elsewhere is not None and hasattr(elsewhere, "current_device"):
            index = elsewhere.current_device()
        devices = [] if elsewhere is None else [index or 0]
        on_it = getattr(elsewhere, "device", None)
        with (
            torch.random.fork_rng(devices, device_type="cuda" if kind == "cpu" else kind),
            nullcontext() if on_it is None else on_it(index),
        ):
            if self._states is None:
                torch.default_generator.manual_seed(self.seed)
                if elsewhere is not None:
                    elsewhere.manual_seed(self.seed)
            else:
                torch.set_rng_state(self._states[0])
                if self._states[1] is not None and elsewhere is not None:
                    elsewhere.set_rng_state(self._states[1])
            try:
                yield
            finally:
                other = None if elsewhere is None else elsewhere.get_rng_state()
                self._states = (torch.get_rng_state(), other)
