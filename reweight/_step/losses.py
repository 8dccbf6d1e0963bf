"""From what a loss function returns to one loss per sample, or per element."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from reweight._dtypes import at_least_float32
from reweight._isolation.losses import Losses
from reweight._isolation.predictions import Supervised
from reweight._isolation.wrappers import whole
from reweight._step.batches import Forward, SupervisedForward
from reweight._step.first_sides import OnePerSample
from reweight._step.ignored import maybe_ignored, maybe_ignored_in
from reweight._step.later import Later, NotExpected
from reweight._step.sample_losses import SampleLosses
from reweight._torch_internals import without_function_modes

Granularity = Literal["sample", "element"]

_MEND = (
    'Build the loss with reduction="none" (for example '
    'nn.CrossEntropyLoss(reduction="none")), so that it returns one value per sample. '
    "A loss that has no such option, as MONAI's DiceCELoss, is made one by "
    "reweight.integrations.monai.per_sample(loss)."
)


def check_reduction(loss: Any) -> None:
    """Refuse a loss module that says of itself that it reduces over the batch.

    Raises:
        ValueError: If ``loss.reduction`` is ``"mean"``, ``"sum"`` or ``"batchmean"``.
    """
    reduction = _reduction(loss)
    if isinstance(loss, nn.Module) and "none" in map(_reduction, loss.modules()):
        return  # made of others, and its own may say nothing (MONAI's DiceFocalLoss)
    if reduction in ("mean", "sum", "batchmean"):
        raise ValueError(
            f'the loss has reduction="{reduction}": it returns one value for the whole batch, '
            f"and samples cannot be weighted. {_MEND}"
        )


def _reduction(loss: Any) -> Any:
    reduction = getattr(loss, "reduction", None)
    return getattr(reduction, "value", reduction)


def per_unit(value: Any, granularity: Granularity, counted: Any = None) -> Losses:
    """Return the losses to be weighted, in float32 or wider.

    Args:
        value: What the loss returned: ``(C,)`` or ``(C, ...)``.
        granularity: ``"sample"`` averages each sample's values that count, ``"element"`` keeps the
            map.
        counted: Which values count, bool or integers, in their shape or ``(C,)``; ``None``: all.

    Returns:
        ``(C,)`` for ``"sample"``, the shape of ``value`` for ``"element"``. Of a sample that has
        several values, those that count count.

    Raises:
        TypeError: If ``value`` is not a floating-point tensor, or ``counted`` is one.
        ValueError: If it is a scalar, or holds no value, or ``counted`` has another shape.
    """
    if counted is None and type(value) is Tensor and _one_each(value):
        return Losses(value)
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
    losses = at_least_float32(_plain(value))
    if counted is None:
        several = granularity == "sample" and losses.dim() > 1
        return Losses(losses.flatten(start_dim=1).mean(dim=1) if several else losses)
    mask = _as_mask(counted, losses)
    # What does not count may be anything: 0 · NaN is NaN.
    losses = torch.where(mask, losses, torch.zeros_like(losses))
    if granularity == "sample" and losses.dim() > 1:
        each = mask.flatten(start_dim=1)
        number = each.sum(dim=1)
        losses = losses.flatten(start_dim=1).sum(dim=1) / number.clamp(min=1)
        mask = number > 0
    return Losses(losses, mask)


def _one_each(value: Tensor) -> bool:
    """Whether there is nothing to do to the losses: one a sample, and wide enough."""
    with without_function_modes():  # a look of this library's own, which no observer asks for
        return value.dtype in (torch.float32, torch.float64) and value.dim() == 1 and len(value) > 0


def _as_mask(counted: Any, losses: Tensor) -> Tensor:
    if (
        not isinstance(counted, Tensor)
        or counted.is_floating_point()
        or counted.is_complex()
        or counted.dim() == 0
        or counted.shape != losses.shape[: counted.dim()]
    ):
        got = (
            f"{counted.dtype} of shape {tuple(counted.shape)}"
            if isinstance(counted, Tensor)
            else type(counted).__name__
        )
        kind = ValueError if isinstance(counted, Tensor) else TypeError
        raise kind(
            f"what forward= returns beside the losses must tell which of them count: a bool tensor "
            f"of their shape {tuple(losses.shape)}, or one value a sample; got {got}."
        )
    mask = _plain(counted).to(losses.device) != 0
    return mask.reshape(*mask.shape, *[1] * (losses.dim() - mask.dim())).expand(losses.shape)


def _plain(value: Tensor) -> Tensor:
    return value if type(value) is Tensor else value.as_subclass(Tensor)


class UnitLosses:
    """The losses to be weighted, one a sample or one an element, of a batch.

    Args:
        forward: ``(model, batch) -> losses``, ``(C,)`` or ``(C, ...)``, or a pair of them and of
            which of them count.
        granularity: Whether samples or elements of the loss map are weighed.

    Attributes:
        expects_ignored: Whether targets that the loss ignores have been seen.
        later: What is asked, where none has, if there are some now.
    """

    def __init__(self, forward: Forward, granularity: Granularity) -> None:
        self.forward = forward
        self.granularity: Granularity = granularity
        self._one_per_sample = OnePerSample(getattr(forward, "loss", None))
        self.expects_ignored = False
        self.later: Later | None = None

    def _ignored(self, maybe: Iterable[Tensor | None]) -> Tensor | None:
        """Return the first that marks anything; where none ever did, none is expected to."""
        found = [each for each in maybe if each is not None]
        if not found:
            return None
        if self.later is None or self.later.at_once or self.expects_ignored:
            first = next((each for each in found if bool(each.any())), None)
            self.expects_ignored |= first is not None
            return first
        with without_function_modes():
            anywhere = found[0].any()
            for each in found[1:]:
                anywhere = anywhere | each.any()
            self.later.ask(anywhere, self._refuse_ignored)
        return None

    def _refuse_ignored(self, found: float) -> None:
        if found:
            self.expects_ignored = True
            raise NotExpected

    def __call__(self, model: nn.Module, batch: Any) -> Losses:
        """Return ``(C,)``, or the loss map."""
        counted, said = None, False
        maybe: Iterable[Tensor | None] = ()
        if isinstance(self.forward, SupervisedForward):
            source: Supervised | None = self.forward.source(model, batch)
            assert source is not None
            found = self.forward.loss(source.output, source.target)
            maybe = [self.forward.maybe_ignored(found, batch)]
        else:
            returned = _as_sample_losses(self.forward(model, batch))
            found, counted, source = returned.losses, returned.counted, returned.source()
            if counted is not None:
                said = True
            elif source is None:
                maybe = maybe_ignored_in(found, batch)
            else:
                maybe = [maybe_ignored(found, returned.labels, source.ignored)]
        ignored = self._ignored(maybe)
        if ignored is not None:
            counted = ~ignored
        losses = per_unit(found, self.granularity, counted)
        if not said:
            with without_function_modes():
                self._one_per_sample.check(len(losses.values), batch)
        return replace(losses, made_from=source)


def _as_sample_losses(returned: Any) -> SampleLosses:
    if isinstance(returned, SampleLosses):
        return returned
    pair = isinstance(returned, tuple) and len(returned) == 2
    return SampleLosses(*returned) if pair else SampleLosses(returned)
