"""Autocast for the training pass, and none for scores."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import torch


class Precision:
    """Autocast as the caller set it, for the training pass, and none, for scores.

    A half-precision gradient changes what a small score is worth, and backward passes run under
    the autocast of whoever asks for them.

    Args:
        devices: Other than the CPU, those of the model.
    """

    def __init__(self, devices: Sequence[torch.device]) -> None:
        kinds = {"cpu", *(device.type for device in devices)}
        self._dtypes = {
            k: torch.get_autocast_dtype(k) for k in kinds if torch.is_autocast_enabled(k)
        }

    @property
    def autocast(self) -> bool:
        """Whether the caller has autocast on."""
        return bool(self._dtypes)

    @contextmanager
    def for_scores(self) -> Iterator[None]:
        """Run the body without autocast and with gradients enabled, whatever the caller set."""
        with ExitStack() as stack:
            stack.enter_context(torch.enable_grad())
            for kind in self._dtypes:
                stack.enter_context(torch.autocast(kind, enabled=False))
            yield

    @contextmanager
    def for_training(self) -> Iterator[None]:
        """Run the body under the caller's autocast."""
        with ExitStack() as stack:
            for kind, dtype in self._dtypes.items():
                stack.enter_context(torch.autocast(kind, dtype=dtype))
            yield
