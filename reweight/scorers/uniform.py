"""Equal scores: ordinary training."""

from __future__ import annotations

import torch
from torch import Tensor
from typing_extensions import override

from reweight._step.context import ScoringContext
from reweight.scorers.mixture import Scorer


class Uniform(Scorer):
    """Score 1 for every sample. With it the loss and its gradient are the plain mean's.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from reweight import MetaReweighter, Uniform
        >>> x = torch.tensor([[1.0], [2.0], [-1.0], [-2.0]])
        >>> y = torch.tensor([1, 0, 0, 0])  # 1 where x > 0, but for the second, which is wrong
        >>> trusted = torch.tensor([[1.0], [-1.0]]), torch.tensor([1, 0])
        >>> model, loss = nn.Linear(1, 2, bias=False), nn.CrossEntropyLoss(reduction="none")
        >>> step = MetaReweighter(model, loss, scorer=Uniform())((x, y))  # no trusted batch
        >>> torch.allclose(step.loss, loss(model(x), y).mean())
        True
    """

    signed = False

    @override
    def __repr__(self) -> str:
        return "Uniform()"

    @override
    def __call__(self, context: ScoringContext) -> Tensor:
        """Return ones in the shape of the losses."""
        return torch.ones_like(context.losses)
