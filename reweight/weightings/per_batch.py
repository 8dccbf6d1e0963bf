"""Weights that live for one step, as the paper has them."""

from __future__ import annotations

from torch import Tensor
from typing_extensions import override

from reweight.weightings.context import WeightingContext
from reweight.weightings.weighting import Weighting


class PerBatch(Weighting):
    """Normalise the scores of the batch by g, mix, and remember nothing (Eq. 5, 7 and 8).

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from reweight import GradientSimilarity, MetaReweighter, PerBatch, normalize
        >>> x = torch.tensor([[1.0], [2.0], [-1.0], [-2.0]])
        >>> y = torch.tensor([1, 0, 0, 0])  # 1 where x > 0, but for the second, which is wrong
        >>> trusted = torch.tensor([[1.0], [-1.0]]), torch.tensor([1, 0])
        >>> model, loss = nn.Linear(1, 2, bias=False), nn.CrossEntropyLoss(reduction="none")
        >>> scorer = GradientSimilarity()
        >>> step = MetaReweighter(model, loss, scorer=scorer, weighting=PerBatch())((x, y), trusted)
        >>> torch.allclose(step.weights, normalize(step.scores["gradient_similarity"]).float())
        True
    """

    relative = False

    @override
    def __call__(self, context: WeightingContext) -> Tensor:
        """Return ``context.mixed``; a part without a positive score contributes nothing."""
        return context.mixed

    def __repr__(self) -> str:
        return "PerBatch()"
