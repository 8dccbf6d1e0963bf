"""Names of PyTorch that are not public, each behind a function that says what it is for."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node

_functorch: Any = torch._C._functorch


def is_wrapped(tensor: Tensor) -> bool:
    """Whether ``tensor`` is what a transform (``torch.func.jvp``, ``vmap``) wraps around others."""
    return bool(_functorch.is_functorch_wrapped_tensor(tensor))


def unwrapped_tensor(tensor: Tensor) -> Tensor:
    """Return what all transforms in force have wrapped; outside of them it has a graph."""
    while is_wrapped(tensor):
        tensor = _functorch.get_unwrapped(tensor)
    return tensor


def has_hooks(layer: nn.Module) -> bool:
    """Whether hooks may compute the layer's weight, change its output or change a gradient."""
    return bool(
        layer._forward_hooks
        or layer._forward_pre_hooks
        or layer._backward_hooks
        or layer._backward_pre_hooks
    )


def padding_of(layer: nn.Module) -> list[int]:
    """Return a convolution's padding as ``F.pad`` takes it, where it is not by zeros."""
    padding: Any = layer._reversed_padding_repeated_twice
    return list(padding)


def output_shape(node: Node) -> tuple[int, ...] | None:
    """Return the shape of what a node of the graph computed, if that was one tensor."""
    metadata = getattr(node, "_input_metadata", None)
    if metadata is None or len(metadata) != 1:
        return None
    try:
        shape = tuple(metadata[0].shape)
    except RuntimeError:  # nested tensors have none
        return None
    return shape if all(type(side) is int for side in shape) else None


def saved_dimensions(node: Node) -> list[int] | None:
    """Return the dimensions that an operator was asked to work along, ``None`` if unknown."""
    found: list[int] = []
    for name in ("_saved_dim", "_saved_dims", "_saved_dim0", "_saved_dim1"):
        value = getattr(node, name, None)
        if value is not None:
            found += value if isinstance(value, tuple) else [value]
    # Negative ones are shown as unsigned.
    signed = [d - 2**64 if d >= 2**63 else d for d in found]
    return signed or None
