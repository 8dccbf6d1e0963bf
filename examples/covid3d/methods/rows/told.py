"""A student that is told how good each pseudo-label is: what perfect weights would gain."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from examples.covid3d.methods.rows.reweighted import Reweighted
from examples.covid3d.train.lesson import Lesson
from examples.covid3d.train.patches import PatchBatch
from reweight import KeepAll, ReweightedStep, Uniform, WeightingContext

GOOD = 0.5
"""True Dice from which a pseudo-label is trained on."""


class Told(Reweighted):
    """Trains on the pseudo-labels whose true Dice is at least :data:`GOOD`, and on no others.

    Batches, losses and the trusted term are those of ``equal-trusted``: nothing but weights differ.

    Args:
        lesson: The replicate; the truth of its unlabelled scans must be known.
        model: The student.
    """

    def __init__(self, lesson: Lesson, model: nn.Module) -> None:
        quality = lesson.true_quality()
        self._number = {name: number for number, name in enumerate(quality)}
        self._good = torch.tensor([float(dice >= GOOD) for dice in quality.values()])
        options: dict[str, Any] = {
            "scorer": Uniform(),
            "selector": KeepAll(),
            "weighting": self._told,
            "trusted_coefficient": 1.0,
        }
        super().__init__(lesson, model, options)

    def _told(self, context: WeightingContext) -> Tensor:
        assert context.ids is not None
        return self._good.to(context.losses)[context.ids]

    def _weigh(self, noisy: PatchBatch, trusted: PatchBatch) -> ReweightedStep:
        ids = torch.tensor([self._number[name] for name in noisy.names])
        return self._reweighter(noisy.pair(self._device), trusted.pair(self._device), ids=ids)
