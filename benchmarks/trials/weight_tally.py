"""Where the weight of an epoch falls."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


class WeightTally:
    """Sums over the steps of an epoch.

    Args:
        marks: By name, ``(n,)`` bool of the pool: whose share of the weight is asked for.
        groups: ``(n,)``, the source of each sample of the pool, or ``None``.
    """

    def __init__(self, marks: Mapping[str, Tensor], groups: Tensor | None) -> None:
        self._marks = marks
        self._groups = groups
        self._weight = 0.0
        self._marked = dict.fromkeys(marks, 0.0)
        self._kept = 0.0
        self._effective = 0.0
        self._steps = 0
        count = 0 if groups is None else int(groups.max()) + 1
        self._by_group = torch.zeros(2, count, dtype=torch.float64)

    def add(self, chosen: Tensor, weights: Tensor) -> None:
        """Count one step.

        Args:
            chosen: ``(C,)``, which samples of the pool.
            weights: ``(C,)``, not negative.
        """
        weights = weights.double()
        total = float(weights.sum())
        self._weight += total
        for name, mark in self._marks.items():
            self._marked[name] += float(weights[mark[chosen]].sum())
        if self._groups is not None:
            rows = torch.stack([weights, torch.ones_like(weights)])
            self._by_group.index_add_(1, self._groups[chosen], rows)
        self._kept += float((weights > 0).double().mean())
        if total > 0:
            self._effective += total**2 / float(weights.square().sum()) / len(weights)
        self._steps += 1

    def share(self, of: str) -> float:
        """Return the share of weight on the samples marked so; 0 if there was none."""
        return self._marked[of] / self._weight if self._weight > 0 else 0.0

    @property
    def by_group(self) -> list[float]:
        """Mean weight of a sample of each group, as a multiple of the mean of all."""
        weight, count = self._by_group
        mean = weight.sum() / count.sum()
        return (weight / count.clamp(min=1) / mean).nan_to_num().tolist()  # type: ignore[no-any-return]

    @property
    def kept(self) -> float:
        """Mean share of a batch with positive weight."""
        return self._kept / self._steps

    @property
    def effective(self) -> float:
        """Mean effective sample size as a share of the batch."""
        return self._effective / self._steps
