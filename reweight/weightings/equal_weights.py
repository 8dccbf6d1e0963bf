"""The same weight for every sample: for labels that are mended, and as a control."""

from __future__ import annotations

import torch
from torch import Tensor
from typing_extensions import override

from reweight.weightings.context import WeightingContext
from reweight.weightings.weighting import Weighting


class EqualWeights(Weighting):
    """Give every sample 1/C, whatever its score: the loss is the mean loss.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from reweight import EqualWeights, MetaReweighter
        >>> x = torch.tensor([[1.0], [2.0], [-1.0], [-2.0]])
        >>> y = torch.tensor([1, 0, 0, 0])  # 1 where x > 0, but for the second, which is wrong
        >>> trusted = torch.tensor([[1.0], [-1.0]]), torch.tensor([1, 0])
        >>> model, loss = nn.Linear(1, 2, bias=False), nn.CrossEntropyLoss(reduction="none")
        >>> step = MetaReweighter(model, loss, weighting=EqualWeights())((x, y), trusted)
        >>> step.weights
        tensor([0.2500, 0.2500, 0.2500, 0.2500])
    """

    @override
    def __call__(self, context: WeightingContext) -> Tensor:
        """Return ones, ``(N,)``."""
        return torch.ones_like(context.losses)

    def __repr__(self) -> str:
        return "EqualWeights()"
