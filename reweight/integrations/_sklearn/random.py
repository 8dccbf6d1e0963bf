"""Random numbers of a fit's own, so that nobody else's move."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch


class OwnRandom:
    """The streams of random numbers of one training, which go on from fit to fit.

    Args:
        seed: Where they begin.
        device: Where the module is; the CPU's stream is always one of them.
    """

    def __init__(self, seed: int, device: torch.device) -> None:
        self.seed: int = seed
        self.device: torch.device = device
        self._states: list[Any] | None = None

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Let PyTorch's global streams be these ones, and put them back at the end."""
        streams: list[Any] = [torch.random]
        chosen: Any = nullcontext()
        if self.device.type != "cpu":
            module = torch.get_device_module(self.device)
            streams.append(module)
            if self.device.index is not None and hasattr(module, "device"):
                chosen = module.device(self.device)  # else it is the current one
        with chosen:
            before = [stream.get_rng_state() for stream in streams]
            try:
                if self._states is None:
                    torch.default_generator.manual_seed(self.seed)
                    for stream in streams[1:]:
                        stream.manual_seed(self.seed)
                else:
                    _put_back(streams, self._states)
                yield
            finally:
                self._states = [stream.get_rng_state() for stream in streams]
                _put_back(streams, before)


def _put_back(streams: list[Any], states: list[Any]) -> None:
    for stream, state in zip(streams, states, strict=True):
        stream.set_rng_state(state)
