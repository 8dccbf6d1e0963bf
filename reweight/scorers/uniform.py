"""Equal scores: ordinary training."""

from __future__ import annotations

import torch
from torch import Tensor
from typing_extensions import override

from reweight._step.context import ScoringContext
from reweight.scorers.mixture import Scorer


class Uniform(Scorer):
    """Score 1 for every sample. With it the loss and its gradient are the plain mean's."""

    signed = False

    @override
    def __repr__(self) -> str:
        return "Uniform()"

    @override
    def __call__(self, context: ScoringContext) -> Tensor:
        """Return ones in the shape of the losses."""
        return torch.ones_like(context.losses)
