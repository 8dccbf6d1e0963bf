"""Cross-entropy and the negative log-likelihood, in closed form.

With z the logits, p = softmax(z) and S = Σ_c p_c ż_c, the tangent of −log p_c is S − ż_c.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from reweight._derivative.beside_training.call import Call

_ROOM = 2**18  # numbers of p that are computed at a time: as many as stay in a processor's cache
_ROOM_ON_DEVICES = 2**24
_NAMES = ("input", "target", "weight", "size_average", "ignore_index", "reduce", "reduction")
_USUAL = {"ignore_index": -100, "reduction": "mean"}


def nll_loss(call: Call) -> Tensor | None:
    """``F.nll_loss``."""
    given = call.given(*_NAMES, **_USUAL)
    x, target = given["input"], given["target"]
    dx = call.tangent(x)
    if dx is None or _uncommon(call, given):
        return None
    dx = dx.to(call.out.dtype)
    counted, index, weights = _labels(given, 0 if x.dim() == 1 else 1)
    taken = dx.gather(0 if x.dim() == 1 else 1, index).reshape(target.shape).neg()
    return _reduced(taken, counted, weights, given["reduction"])


def cross_entropy(call: Call) -> Tensor | None:
    """``F.cross_entropy`` of labels or of probabilities, weighted, smoothed, some ignored."""
    given = call.given(*_NAMES, "label_smoothing", **_USUAL, label_smoothing=0.0)
    z, target, weight = given["input"], given["target"], given["weight"]
    dz = call.tangent(z)
    if dz is None or _uncommon(call, given):
        return None
    dim, smoothing = 0 if z.dim() == 1 else 1, given["label_smoothing"]
    z, dz = z.to(call.out.dtype), dz.to(call.out.dtype)
    total = _expected(z, dz, dim)
    every = _over_every_class(total, dz, dim, weight, smoothing)
    if target.is_floating_point():
        shares = target if weight is None else target * _along(weight, z, dim)
        moved: Tensor = shares.sum(dim).mul_(total).sub_((shares * dz).sum(dim)).mul_(1 - smoothing)
        moved = moved if every is None else moved.add_(every)
        if given["reduction"] == "none":
            return moved
        return moved.sum() if given["reduction"] == "sum" else moved.sum() / _samples(z, dim)
    counted, index, weights = _labels(given, dim)
    moved = total - dz.gather(dim, index).squeeze(dim)
    if weights is not None:
        moved.mul_(weights)
    if every is not None:
        moved = moved.mul_(1 - smoothing).add_(every)
    return _reduced(moved, counted, weights, given["reduction"], weighted=True)


def _uncommon(call: Call, given: dict[str, Any]) -> bool:
    legacy = given["size_average"] is not None or given["reduce"] is not None
    moving = any(call.tangent(given[name]) is not None for name in ("target", "weight"))
    return legacy or moving


def _labels(given: dict[str, Any], dim: int) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return which labels count, what to gather by, and the weight of each label."""
    target, weight = given["target"], given["weight"]
    counted = target != given["ignore_index"]
    known = target.long().where(counted, 0)
    return counted, known.unsqueeze(dim), None if weight is None else weight[known]


def _reduced(
    moved: Tensor,
    counted: Tensor,
    weights: Tensor | None,
    reduction: str,
    *,
    weighted: bool = False,
) -> Tensor:
    if weights is not None and not weighted:
        moved = moved.mul_(weights)
    moved = moved.masked_fill_(~counted, 0)
    if reduction == "none":
        return moved
    if reduction == "sum":
        return moved.sum()
    shares = counted if weights is None else weights.masked_fill(~counted, 0)
    return moved.sum() / shares.sum()


def _over_every_class(
    total: Tensor, dz: Tensor, dim: int, weight: Tensor | None, smoothing: float
) -> Tensor | None:
    """Return the tangent of what label smoothing adds, ε/K Σ_c −w_c log p_c."""
    if smoothing == 0:
        return None
    share = smoothing / dz.shape[dim]
    if weight is None:
        return (total - dz.mean(dim)).mul_(smoothing)
    return (total * weight.sum() - (dz * _along(weight, dz, dim)).sum(dim)).mul_(share)


def _along(weight: Tensor, z: Tensor, dim: int) -> Tensor:
    return weight.reshape(-1, *[1] * (z.dim() - dim - 1))


def _samples(z: Tensor, dim: int) -> int:
    return z.numel() // max(z.shape[dim], 1)


def _expected(z: Tensor, dz: Tensor, dim: int) -> Tensor:
    """Return Σ_c p_c ż_c, some samples at a time: there may be as many classes as words."""
    if dim == 0:
        return z.softmax(0).mul_(dz).sum(0)
    room = _ROOM if z.device.type == "cpu" else _ROOM_ON_DEVICES
    if z.dim() == 2 and z.numel() <= room:  # all at once, and nothing to put together
        return z.softmax(1).mul_(dz).sum(1)
    if z.stride(1) == 1:  # the scores of one token lie side by side
        z, dz = z.movedim(1, -1), dz.movedim(1, -1)
        parts = [a.softmax(-1).mul_(b).sum(-1).flatten() for a, b in _pieces(z, dz, room)]
        return torch.cat(parts).reshape(z.shape[:-1])
    rows = max(1, room // max(z[:1].numel(), 1))
    return torch.cat(
        [
            a.softmax(1).mul_(b).sum(1)
            for a, b in zip(torch.split(z, rows), torch.split(dz, rows), strict=True)
        ]
    )


def _pieces(z: Tensor, dz: Tensor, room: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield views, in order, of no more than ``room`` numbers or of one row."""
    if z.numel() <= room or z.dim() == 1:
        yield z, dz
    elif z[0].numel() <= room:
        rows = room // z[0].numel()
        yield from zip(torch.split(z, rows), torch.split(dz, rows), strict=True)
    else:
        for one, other in zip(z, dz, strict=True):
            yield from _pieces(one, other, room)
