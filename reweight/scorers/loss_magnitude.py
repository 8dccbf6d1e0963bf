"""The loss itself as a score."""

from __future__ import annotations

from torch import Tensor
from typing_extensions import override

from reweight._step.context import ScoringContext
from reweight._step.plain_gradients import PlainGradients
from reweight.scorers.mixture import Scorer


class LossMagnitude(Scorer):
    """Score each sample by its loss: the larger, the more it counts.

    The simplest measure of informativeness, as in hard-example mining. On noisy labels the
    largest losses are often the wrong labels: mix it with a measure of trust.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from reweight import LossMagnitude, MetaReweighter
        >>> x = torch.tensor([[1.0], [2.0], [-1.0], [-2.0]])
        >>> y = torch.tensor([1, 0, 0, 0])  # 1 where x > 0, but for the second, which is wrong
        >>> trusted = torch.tensor([[1.0], [-1.0]]), torch.tensor([1, 0])
        >>> model, loss = nn.Linear(1, 2, bias=False), nn.CrossEntropyLoss(reduction="none")
        >>> step = MetaReweighter(model, loss, scorer=LossMagnitude())((x, y))
        >>> bool(step.weights.argmax() == step.losses.argmax())
        True
    """

    signed = False

    @override
    def __repr__(self) -> str:
        return "LossMagnitude()"

    @override
    def __call__(self, context: ScoringContext) -> Tensor:
        """Return the losses of the noisy batch, ``(C,)`` or the loss map."""
        return context.losses

    @override
    def reference(
        self, context: ScoringContext, plain: PlainGradients
    ) -> tuple[Tensor | None, str]:
        """Return the losses of an ordinary pass."""
        return plain.losses, ""
