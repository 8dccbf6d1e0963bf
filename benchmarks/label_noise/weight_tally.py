"""Where the weight of an epoch falls."""

from __future__ import annotations

from torch import Tensor


class WeightTally:
    """Sums over the steps of an epoch."""

    def __init__(self) -> None:
        self._weight = 0.0
        self._marked = {"clean": 0.0, "rare": 0.0}
        self._kept = 0.0
        self._effective = 0.0
        self._steps = 0

    def add(self, weights: Tensor, clean: Tensor, rare: Tensor | None) -> None:
        """Count one step.

        Args:
            weights: ``(C,)``, not negative.
            clean: ``(C,)``, whether a sample's label is right.
            rare: ``(C,)``, whether it is of a rare class, or ``None``.
        """
        weights = weights.double()
        total = float(weights.sum())
        self._weight += total
        self._marked["clean"] += float(weights[clean].sum())
        if rare is not None:
            self._marked["rare"] += float(weights[rare].sum())
        self._kept += float((weights > 0).double().mean())
        if total > 0:
            self._effective += total**2 / float(weights.square().sum()) / len(weights)
        self._steps += 1

    def share(self, of: str) -> float:
        """Return the share of weight on ``clean`` or ``rare`` samples; 0 if there was none."""
        return self._marked[of] / self._weight if self._weight > 0 else 0.0

    @property
    def kept(self) -> float:
        """Mean share of a batch with positive weight."""
        return self._kept / self._steps

    @property
    def effective(self) -> float:
        """Mean effective sample size as a share of the batch."""
        return self._effective / self._steps
