"""A loss that reduces over the batch, made to say what each sample's is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor, nn

from reweight.integrations._per_sample.names import OF_SEVERAL, name_of
from reweight.integrations._per_sample.rules import at_once, one_by_one


class PerSample(nn.Module):
    """One value a sample of a loss of batches; :func:`per_sample` makes one.

    Attributes:
        loss: The loss it was made of; what is changed of it holds from the next call on.
        reduction: ``"none"``.
    """

    loss: Callable[..., Any]
    reduction: str

    def __init__(self, loss: Callable[..., Any]) -> None:
        super().__init__()
        self.loss = loss
        self.reduction = "none"

    def forward(self, output: Any, target: Any) -> Tensor:
        """Return ``(C,)``, the loss of each sample alone."""
        output, target = plain(output), plain(target)
        found = at_once(self.loss, output, target)
        return one_by_one(self.loss, output, target) if found is None else found


def per_sample(loss: Callable[..., Any]) -> PerSample:
    """Return a loss with one value a sample, from one that has one for the whole batch.

    The value of sample i is what ``loss(output[i:i+1], target[i:i+1])`` is. For MONAI's
    ``DiceLoss``, ``DiceCELoss``, ``DiceFocalLoss``, ``GeneralizedDiceLoss``,
    ``GeneralizedDiceFocalLoss``, ``TverskyLoss`` and ``FocalLoss`` and PyTorch's own losses it is
    read off one call for the batch; any other is called once a sample, by which neither scores
    nor gradients need a further pass of the model. Images with the data of MONAI (``MetaTensor``)
    are taken as plain tensors.

    Of a mean that is no mean over samples, such as the cross-entropy with class weights or
    ignored targets, the mean of these values is not the loss of the batch: each sample is divided
    by its own weights.

    Args:
        loss: A loss module with ``reduction="mean"`` or ``"sum"``, or any function
            ``(output, target) -> number`` of batches, samples first. Output and target may be
            tuples, lists or dicts of such tensors.

    Returns:
        A module, ``(output, target) -> (C,)``, for ``MetaReweighter(model, per_sample(loss))``.

    Raises:
        TypeError: If ``loss`` cannot be called.
        ValueError: If the loss is of the batch as a whole: ``batch=True``, or one that compares
            samples, such as a contrastive one.

    Example::

        from monai.losses import DiceCELoss
        from reweight.integrations.monai import per_sample

        reweighter = MetaReweighter(model, per_sample(DiceCELoss(sigmoid=True)))
    """
    if isinstance(loss, PerSample):
        return loss
    if not callable(loss):
        raise TypeError(f"loss must be a function (output, target) -> number, got {loss!r}.")
    for part in _parts(loss):
        if getattr(part, "batch", False) is True:
            raise ValueError(
                f"{type(part).__name__}(batch=True) is one Dice of all samples together, so that "
                f"none has a loss of its own to be weighed. Build it with batch=False."
            )
        if why := OF_SEVERAL.get(name_of(part)):
            raise ValueError(
                f"{type(part).__name__} {why}, so that no sample has a loss of its own to be "
                f"weighed. Weigh by another loss, and add this one to step.loss yourself."
            )
    return PerSample(loss)


def _parts(loss: Any) -> Iterator[Any]:
    if isinstance(loss, nn.Module):
        yield from loss.modules()
    else:
        yield loss


def plain(value: Any) -> Any:
    """Return ``value`` with plain tensors in place of MONAI's, which cost scores a pass more."""
    if isinstance(value, Tensor):
        return value if type(value) is Tensor or not hasattr(value, "as_tensor") else _bare(value)
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    if type(value) in (tuple, list):
        return type(value)(plain(each) for each in value)
    return value


def _bare(value: Any) -> Any:
    return value.as_tensor()
