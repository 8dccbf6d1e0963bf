"""Operators that are linear in their only differentiable input, and joining and taking apart."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from reweight._derivative.beside_training.call import Call

RESHAPING = (
    Tensor.flatten,
    Tensor.reshape,
    Tensor.reshape_as,
    Tensor.unflatten,
    Tensor.view,
    Tensor.view_as,
    torch.flatten,
    torch.reshape,
    torch.unflatten,
)
# fmt: off
_METHODS_AND_FUNCTIONS = (
    "clone", "cumsum", "diagonal", "flip", "gather", "index_select", "masked_select", "mean",
    "movedim", "moveaxis", "narrow", "neg", "negative", "permute", "repeat_interleave", "roll",
    "select", "squeeze", "sum", "swapaxes", "swapdims", "t", "take_along_dim", "tile", "transpose",
    "tril", "triu", "unsqueeze",
)
_METHODS = (
    "__getitem__", "__neg__", "bfloat16", "contiguous", "cpu", "cuda", "double", "expand",
    "expand_as", "float", "half", "repeat", "to", "type", "type_as", "unfold",
)
_FUNCTIONS = (
    "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d", "avg_pool1d", "avg_pool2d",
    "avg_pool3d", "channel_shuffle", "fold", "interpolate", "pixel_shuffle", "pixel_unshuffle",
    "unfold",
)
# fmt: on
LINEAR = tuple(
    dict.fromkeys(
        [
            *(getattr(Tensor, name) for name in (*_METHODS_AND_FUNCTIONS, *_METHODS)),
            *(getattr(torch, name) for name in _METHODS_AND_FUNCTIONS),
            *(getattr(F, name) for name in _FUNCTIONS),
            torch.adaptive_avg_pool1d,
        ]
    )
)
TRANSPOSED = tuple(getattr(Tensor, name).__get__ for name in ("T", "mT"))
"""Attributes: a function mode sees them being read."""
CONCATENATIONS = (
    torch.cat,
    torch.concat,
    torch.concatenate,
    torch.stack,
    torch.hstack,
    torch.vstack,
    torch.dstack,
    torch.column_stack,
)
PARTITIONS = (
    Tensor.chunk,
    Tensor.split,
    Tensor.split_with_sizes,
    Tensor.tensor_split,
    Tensor.unbind,
    torch.chunk,
    torch.split,
    torch.split_with_sizes,
    torch.tensor_split,
    torch.unbind,
)


def linear(call: Call) -> Tensor | None:
    """Operators that do to the tangent what they do to their first argument."""
    if not call.args or (tangent := call.tangent(call.args[0])) is None:
        return None
    changed: Tensor = call.operator(tangent, *call.args[1:], **call.kwargs)
    return changed


def reshaped(call: Call) -> Tensor | None:
    """Views and copies in another shape; the tangent may lie in memory in another order."""
    if not call.args or (tangent := call.tangent(call.args[0])) is None:
        return None
    return tangent.reshape(call.out.shape)


def padded(call: Call) -> Tensor | None:
    """``F.pad``: what a constant pads has no tangent."""
    given = call.given("input", "pad", "mode", "value", mode="constant")
    if (dx := call.tangent(given["input"])) is None:
        return None
    return F.pad(dx, given["pad"], given["mode"])


def partition(call: Call) -> tuple[Tensor, ...] | None:
    """``chunk``, ``split``, ``unbind``: a part of the tangent for each part."""
    if not call.args or (tangent := call.tangent(call.args[0])) is None:
        return None
    return tuple(call.operator(tangent, *call.args[1:], **call.kwargs))


def concatenate(call: Call) -> Tensor | None:
    """``torch.cat``, ``torch.stack`` and their like."""
    if not call.args:
        return None
    parts = [
        torch.zeros_like(x) if (tangent := call.tangent(x)) is None else tangent
        for x in call.args[0]
    ]
    joined: Tensor = call.operator(parts, *call.args[1:], **call.kwargs)
    return joined
