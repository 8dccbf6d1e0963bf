"""An optimiser that has nothing to learn from stays where it is."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.optim import Optimizer

from reweight.step import ReweightedStep


class Resting:
    """Keeps momentum and weight decay from moving parameters where no sample was kept.

    To skip ``optimizer.step()`` by ``step.kept`` is not right where gradients accumulate, or where
    ranks differ. So gradients that are all exactly zero, those of all ranks and accumulated steps,
    are taken away before the optimiser sees them. They are looked at only after a step that kept
    nothing.
    """

    def __init__(self) -> None:
        self._kept: list[Tensor] = []
        self._moved = False

    def note(self, step: ReweightedStep) -> None:
        """Remember how many samples a step kept, until an optimiser has moved."""
        if self._moved:
            self._kept.clear()
            self._moved = False
        kept = step.kept_by_all
        self._kept.append(step.weights.count_nonzero() if kept is None else kept.detach().long())

    def before(self, optimizer: Optimizer) -> None:
        """Take gradients that say nothing away from an optimiser that is about to move.

        Others than the weighted loss's have gradients of their own, and move.
        """
        self._moved = True
        if not self._kept or int(torch.stack(self._kept).min()) > 0:
            return
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        if not any(_says_something(p.grad) for p in parameters):
            for p in parameters:
                p.grad = None


def _says_something(gradient: Tensor | None) -> bool:
    if gradient is None:
        return False
    return bool((gradient.coalesce().values() if gradient.is_sparse else gradient).any())
