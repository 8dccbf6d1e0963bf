"""Targets that a loss ignores."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from reweight._torch_internals import without_function_modes

# What PyTorch's own losses ignore where nothing else is said; it is no class.
_DEFAULT = -100


def ignored_values(loss: Any) -> tuple[int, ...]:
    """Return the targets that ``loss`` ignores: its ``ignore_index``, or that of a part of it.

    Args:
        loss: A loss module, such as ``nn.CrossEntropyLoss``, one made of such, a
            ``functools.partial`` with that keyword, or any function (then -100).
    """
    parts: list[Any] = [loss, *(loss.modules() if isinstance(loss, nn.Module) else ())]
    found = [getattr(part, "ignore_index", None) for part in parts]
    keywords = getattr(loss, "keywords", None)
    if isinstance(keywords, dict):
        found.append(keywords.get("ignore_index"))
    whole = {each for each in found if isinstance(each, int) and not isinstance(each, bool)}
    return tuple(sorted(whole)) or (_DEFAULT,)


def maybe_ignored_in(losses: Any, batch: Any) -> Iterator[Tensor]:
    """Yield the same as :func:`maybe_ignored`, for each tensor of a batch that may be the target.

    The target may also be one longer than a sample's losses, the next token's.

    Args:
        losses: ``(C, ...)``, as a ``forward=`` returned them.
        batch: A mapping, tuple or list of tensors, among other things.
    """
    if not isinstance(losses, Tensor) or losses.dim() == 0:
        return
    values = batch.values() if isinstance(batch, Mapping) else batch
    for value in values if isinstance(batch, Mapping | tuple | list) else ():
        if not isinstance(value, Tensor) or value.dim() == 0:
            continue
        shifted = (*value.shape[:-1], value.shape[-1] - 1)
        rest = value[..., 1:] if losses.numel() == math.prod(shifted) else value
        if (found := maybe_ignored(losses, rest, (_DEFAULT,))) is not None:
            yield found


def maybe_ignored(losses: Tensor, target: Any, values: tuple[int, ...]) -> Tensor | None:
    """Return where the target is ignored, bool, in the losses' shape; ``None`` if it cannot be.

    There the target is one of ``values`` and the loss exactly zero: by the former alone an index
    that this loss does not ignore would go, by the latter a sample that is learnt. That may be
    nowhere: the device is not waited for.

    Args:
        losses: ``(C, ...)``, as the loss returned them.
        target: Class indices: one a loss, in their shape or another of the same size, or several
            for each, of which all must be ignored.
        values: From :func:`ignored_values`.
    """
    if type(target) is Tensor and type(losses) is Tensor:
        with without_function_modes():  # nothing here has a gradient, or is the model's
            return _maybe_ignored(losses, target, values)
    return _maybe_ignored(losses, target, values)


def _maybe_ignored(losses: Tensor, target: Any, values: tuple[int, ...]) -> Tensor | None:
    if not isinstance(target, Tensor) or not isinstance(losses, Tensor) or losses.dim() == 0:
        return None
    if target.is_floating_point() or target.is_complex() or target.dtype == torch.bool:
        return None
    if target.is_nested or losses.is_nested:
        return None
    several = target.shape[: losses.dim()] == losses.shape
    if not several and target.numel() != losses.numel():
        return None
    chosen = target == values[0]
    for value in values[1:]:
        chosen = chosen | (target == value)
    plain = chosen if type(chosen) is Tensor else chosen.as_subclass(Tensor)
    if several and target.dim() > losses.dim():
        plain = plain.flatten(losses.dim()).all(dim=-1)
    plain = plain.reshape(losses.shape)
    if plain.device != losses.device:  # a forward= that moves its batches leaves these behind
        # What comes to the CPU is read there at once, and must have come.
        plain = plain.to(losses.device, non_blocking=losses.device.type != "cpu")
    ignored = plain & (losses.detach() == 0)
    return ignored if type(ignored) is Tensor else ignored.as_subclass(Tensor)
