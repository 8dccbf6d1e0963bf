"""Where the samples lie in a tensor, and where they come to lie when it is reshaped."""

from __future__ import annotations

import math
from typing import NamedTuple

from torch import Tensor

Shape = tuple[int, ...]


class NotByLayers(RuntimeError):  # noqa: N818 - nothing went wrong for the user
    """Scores cannot be taken layer by layer in this step; the message says why."""


class Samples(NamedTuple):
    """Along which side of a tensor the samples lie.

    Place ``(o * C + i) * within + j`` of that side belongs to sample i.

    Attributes:
        side: The dimension.
        within: How many places of one sample follow one another there.
    """

    side: int
    within: int = 1


def reshaped(at: Samples, made: Shape, given: Shape, count: int) -> Samples | None:
    """Return where the samples lie in a tensor of the same numbers, in order, in another shape.

    Args:
        at: Where they lie in ``made``.
        made: One shape.
        given: The other.
        count: How many samples there are.

    Returns:
        ``None`` if no side of ``given`` holds them.
    """
    stride = at.within * math.prod(made[at.side + 1 :])
    behind = math.prod(given)
    if behind == 0:
        return None
    for side, size in enumerate(given):
        behind //= size
        if stride % behind == 0 and (behind * size) % (stride * count) == 0:
            return Samples(side, stride // behind)
    return None


def broadcast(at: Samples, made: Shape, given: Shape) -> Samples | None:
    """Return where the samples lie in an operand of an elementwise operator; ``None``: nowhere."""
    side = at.side - (len(made) - len(given))
    if side < 0 or given[side] != made[at.side]:
        return None
    return Samples(side, at.within)


def one_by_one(x: Tensor, at: Samples, count: int) -> Tensor:
    """Return ``(C, outer, *before, within, *after)``: the side of the samples first, taken apart.

    Args:
        x: A tensor.
        at: Where the samples lie in it.
        count: How many there are.
    """
    if at == (0, 1) and x.shape[0] == count:
        return x.unsqueeze(1).unsqueeze(2)
    apart: Tensor = x.unflatten(at.side, (-1, count, at.within))  # type: ignore[no-untyped-call]
    return apart.movedim((at.side + 1, at.side), (0, 1))


def dot(a: Tensor, b: Tensor, at: Samples, count: int) -> Tensor:
    """Return ``⟨a_i, b_i⟩`` for every sample, ``(C,)``; ``a`` is used up."""
    return one_by_one(a.mul_(b), at, count).flatten(1).sum(1)


def spread(weights: Tensor, at: Samples, like: Tensor) -> Tensor:
    """Return ``weights``, ``(C,)``, in a shape that broadcasts to that of ``like``."""
    count, size = weights.numel(), like.shape[at.side]
    found = weights.to(like)
    if size != count:
        outer = size // (count * at.within)
        found = found[None, :, None].expand(outer, count, at.within).reshape(size)
    return found.reshape(-1, *[1] * (like.dim() - at.side - 1))
