"""The losses of one pass, and which of them count."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from reweight._isolation.predictions import Supervised


@dataclass(frozen=True, eq=False, slots=True)
class Losses:
    """One loss a sample, or one an element of the loss map.

    Attributes:
        values: ``(C,)`` or the loss map, zero where ``counted`` is false.
        counted: Which of them count, bool, in the same shape: an ignored target has no loss, and
            is neither in a mean nor in a share. ``None``: all.
        made_from: What they were computed from, where that is known.
    """

    values: Tensor
    counted: Tensor | None = None
    made_from: Supervised | None = None

    @property
    def number(self) -> Tensor | int:
        """How many count; a scalar on the device where that must be looked up."""
        return self.values.numel() if self.counted is None else self.counted.sum()

    def mean(self) -> Tensor:
        """Return the mean of those that count, a scalar; zero where none does."""
        if self.counted is None:
            return self.values.mean()
        return (self.values * self.counted).sum() / self.counted.sum().clamp(min=1)
