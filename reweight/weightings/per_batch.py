"""Weights that live for one step, as the paper has them."""

from __future__ import annotations

from torch import Tensor
from typing_extensions import override

from reweight.weightings.context import WeightingContext
from reweight.weightings.weighting import Weighting


class PerBatch(Weighting):
    """Normalise the scores of the batch by g, mix, and remember nothing (Eq. 5, 7 and 8)."""

    relative = False

    @override
    def __call__(self, context: WeightingContext) -> Tensor:
        """Return ``context.mixed``; a part without a positive score contributes nothing."""
        return context.mixed

    def __repr__(self) -> str:
        return "PerBatch()"
