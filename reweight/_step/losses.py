"""From what a loss function returns to one loss per sample, or per element."""

from __future__ import annotations

from typing import Any, Literal

from torch import Tensor, nn

from reweight._dtypes import at_least_float32
from reweight._isolation.losses import Losses
from reweight._isolation.wrappers import whole
from reweight._step.batches import Forward

Granularity = Literal["sample", "element"]

_MEND = (
    'Build the loss with reduction="none" (for example '
    'nn.CrossEntropyLoss(reduction="none")), so that it returns one value per sample.'
)


def check_reduction(loss: Any) -> None:
    """Refuse a loss module that says of itself that it reduces over the batch.

    Raises:
        ValueError: If ``loss.reduction`` is ``"mean"``, ``"sum"`` or ``"batchmean"``.
    """
    reduction = getattr(loss, "reduction", None)
    reduction = getattr(reduction, "value", reduction)
    if reduction in ("mean", "sum", "batchmean"):
        raise ValueError(
            f'the loss has reduction="{reduction}": it returns one value for the whole batch, '
            f"and samples cannot be weighted. {_MEND}"
        )


def per_unit(value: Any, granularity: Granularity) -> Tensor:
    """Return the losses to be weighted, in float32 or wider.

    Args:
        value: What the loss returned: ``(C,)`` or ``(C, ...)``.
        granularity: ``"sample"`` averages each sample's values, ``"element"`` keeps the map.

    Returns:
        ``(C,)`` for ``"sample"``, the shape of ``value`` for ``"element"``.

    Raises:
        TypeError: If ``value`` is not a floating-point tensor.
        ValueError: If it is a scalar, or holds no value.
    """
    if not isinstance(value, Tensor) or not value.is_floating_point():
        what = f"a tensor of {value.dtype}" if isinstance(value, Tensor) else type(value).__name__
        raise TypeError(f"the loss must return a floating-point tensor of losses, got {what}.")
    if value.dim() == 0:
        raise ValueError(
            f"the loss returned a scalar, one value for the whole batch. {_MEND} If it is so "
            f"already, something like squeeze() has removed the side of a batch of one."
        )
    if value.numel() == 0:
        raise ValueError(f"the loss returned no value: its shape is {tuple(value.shape)}.")
    value = whole(value)  # under tensor parallelism the model may leave its output spread
    # A tensor subclass, such as MONAI's MetaTensor, has served its purpose here.
    plain = value if type(value) is Tensor else value.as_subclass(Tensor)
    losses = at_least_float32(plain)
    if granularity == "sample" and losses.dim() > 1:
        return losses.flatten(start_dim=1).mean(dim=1)
    return losses


class UnitLosses:
    """The losses to be weighted, one a sample or one an element, of a batch.

    Args:
        forward: ``(model, batch) -> losses``, ``(C,)`` or ``(C, ...)``.
        granularity: Whether samples or elements of the loss map are weighed.
    """

    def __init__(self, forward: Forward, granularity: Granularity) -> None:
        self.forward = forward
        self.granularity: Granularity = granularity

    def __call__(self, model: nn.Module, batch: Any) -> Losses:
        """Return ``(C,)``, or the loss map."""
        return Losses(per_unit(self.forward(model, batch), self.granularity))
