"""The same weight for every sample: for labels that are mended, and as a control."""

from __future__ import annotations

import torch
from torch import Tensor
from typing_extensions import override

from reweight.weightings.context import WeightingContext
from reweight.weightings.weighting import Weighting


class EqualWeights(Weighting):
    """Give every sample 1/C, whatever its score: the loss is the mean loss."""

    @override
    def __call__(self, context: WeightingContext) -> Tensor:
        """Return ones, ``(N,)``."""
        return torch.ones_like(context.losses)

    def __repr__(self) -> str:
        return "EqualWeights()"
