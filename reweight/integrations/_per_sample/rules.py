"""Losses whose value for each sample can be read off one call for the batch, exactly."""

from __future__ import annotations

import copy
import inspect
from typing import Any

import torch
from torch import Tensor, nn

from reweight._torch_internals import has_hooks, tree_flatten, tree_unflatten
from reweight.integrations._per_sample.names import (
    BY_CHANNEL,
    BY_ELEMENT,
    CLASSES,
    FOCAL,
    MADE_OF,
    name_of,
)


def at_once(loss: Any, output: Any, target: Any) -> Any:
    """Return ``(C,)``, what ``loss`` gives for each sample alone; ``None`` if no rule is known.

    The rules are of exactly these classes, not of subclasses, which may compute something else.
    """
    name, reduction = name_of(loss), getattr(loss, "reduction", None)
    if not isinstance(loss, nn.Module) or has_hooks(loss):
        return None
    if not isinstance(output, Tensor) or not isinstance(target, Tensor):
        return None
    if name in MADE_OF:
        return _sum_of_parts(loss, MADE_OF[name], output, target)
    if reduction not in ("mean", "sum"):
        return None
    if name in BY_CHANNEL or (name in BY_ELEMENT and output.shape == target.shape):
        each = _unreduced(loss)(output, target).flatten(start_dim=1)
        return each.mean(dim=1) if reduction == "mean" else each.sum(dim=1)
    if name == FOCAL and getattr(loss, "ignore_index", None) is None:
        each = _unreduced(loss)(output, target)
        if reduction == "mean":
            return each.flatten(start_dim=1).mean(dim=1)
        return each.flatten(start_dim=2).mean(dim=2).sum(dim=1)  # MONAI's sum is of spatial means
    if name in CLASSES and output.dim() > 1:
        return _of_classes(loss, reduction, output, target)
    return None


def _of_classes(loss: Any, reduction: str, output: Tensor, target: Tensor) -> Tensor:
    each: Tensor = _unreduced(loss)(output, target)
    total: Tensor = each.flatten(start_dim=1).sum(dim=1) if each.dim() > 1 else each
    if reduction == "sum":
        return total
    if target.is_floating_point():  # probabilities of the classes: PyTorch's mean is over places
        return total * (len(each) / each.numel())
    # The mean of a weighted cross-entropy is divided by the weights of the classes given.
    counted = target != loss.ignore_index
    share = counted.to(total.dtype)
    if loss.weight is not None:
        share = loss.weight.to(total)[target.masked_fill(~counted, 0)] * share
    whole = share.flatten(start_dim=1).sum(dim=1) if share.dim() > 1 else share
    # A sample of which all is ignored has no loss: 0, where PyTorch's mean would be 0 / 0.
    return total / torch.where(whole == 0, torch.ones_like(whole), whole)


class _Made:
    """A loss that multiplies and adds those of its parts, with other parts in their place.

    Its own ``forward`` is run, so that what a release of MONAI does to the target stays done.
    """

    def __init__(self, loss: nn.Module, parts: dict[str, Any]) -> None:
        self._loss = loss
        self._parts = parts

    def __getattr__(self, name: str) -> Any:
        if name in self._parts:
            return self._parts[name]
        found = getattr(self._loss, name)
        return found.__func__.__get__(self) if inspect.ismethod(found) else found


def _sum_of_parts(loss: Any, names: tuple[str, ...], output: Tensor, target: Tensor) -> Any:
    parts = {name: getattr(loss, name, None) for name in names}
    if not all(isinstance(part, nn.Module) for part in parts.values()):
        return None
    each = {name: _each_alone(part) for name, part in parts.items()}
    return _Made(loss, each).forward(output, target)


def _each_alone(part: Any) -> Any:
    def losses(output: Tensor, target: Tensor) -> Tensor:
        found = at_once(part, output, target)
        return one_by_one(part, output, target) if found is None else found

    return losses


def one_by_one(loss: Any, *args: Any) -> Tensor:
    """Return ``(C,)``: one call of ``loss`` a sample.

    Not by ``torch.func.vmap``: it hides what it computes from the scoring pass, which then costs a
    forward pass more, and many losses (MONAI's one-hot targets) do not go in it.

    Raises:
        ValueError: If the tensors do not hold as many samples, or the loss returns no number.
    """
    tensors, spec = tree_flatten(args)
    sizes = {len(t) if t.dim() else 0 for t in tensors if isinstance(t, Tensor)}
    if len(sizes) != 1 or 0 in sizes:
        shapes = [tuple(t.shape) for t in tensors if isinstance(t, Tensor)]
        raise ValueError(
            f"per_sample() takes a loss of tensors that hold one row a sample, and these have "
            f"shapes {shapes}. Write the loss of each sample as forward= of the MetaReweighter."
        )
    (size,) = sizes
    rows = [torch.split(t, 1) if isinstance(t, Tensor) else [t] * size for t in tensors]
    alone = (tree_unflatten(list(row), spec) for row in zip(*rows, strict=True))
    return torch.stack([_number(loss(*each)) for each in alone])


def _number(value: Any) -> Tensor:
    if not isinstance(value, Tensor) or value.numel() == 0:
        got = type(value).__name__ if not isinstance(value, Tensor) else "an empty tensor"
        raise ValueError(f"the loss must return a number or a map of one sample, got {got}.")
    return value.mean()


def _unreduced(loss: nn.Module) -> Any:
    # Anew in each call: what its owner changes of the loss (a schedule) holds at once.
    found = copy.copy(loss)
    found.reduction = "none"  # type: ignore[assignment]
    return found
