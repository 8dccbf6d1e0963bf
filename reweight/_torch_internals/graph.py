"""Tensors' memory and versions, and the nodes of a graph."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import Node

SavedTensorsHooks = tuple[Callable[[Tensor], Any], Callable[[Any], Tensor]]
_engine: Any = getattr(torch._C, "_autograd")  # noqa: B009 - unknown to the stubs

# Asked for of every tensor of a pass: without a function of Python's in between.
version: Callable[[Tensor], int] = attrgetter("_version")
"""How often a tensor, or what it shares memory with, has been changed in place."""

is_view: Callable[[Tensor], bool] = Tensor._is_view
"""Whether a tensor is a view that autograd tracks."""


def base_of(x: Tensor) -> Tensor | None:
    """Return what ``x`` is a view of, where autograd tracks it as one."""
    return x._base if is_view(x) else None


def storage_of(x: Any) -> int | None:
    """Return what identifies the memory of a tensor, views of it included."""
    try:
        return int(x.untyped_storage()._cdata)
    except (AttributeError, NotImplementedError, RuntimeError):  # sparse, or a kind of its own
        return None


def leaf_of(node: Node | None) -> Tensor | None:
    """Return the leaf whose gradient ``node`` accumulates, or ``None`` for any other node."""
    found: Tensor | None = getattr(node, "variable", None)
    return found


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


def output_shapes(node: Node) -> list[tuple[int, ...]]:
    """Return the shapes of all that a node of the graph computed.

    Raises:
        RuntimeError: If one has none (a nested tensor).
    """
    return [tuple(metadata.shape) for metadata in getattr(node, "_input_metadata", ())]


def saved(node: Node, name: str) -> Any:
    """Return what a node of the graph kept under ``name``; ``None`` where it kept nothing."""
    return getattr(node, f"_saved_{name}", None)


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


def saved_tensors_hooks_allowed() -> bool:
    """Whether hooks on saved tensors are not barred (``disable_saved_tensors_hooks``)."""
    return bool(_engine._saved_tensors_hooks_is_enabled())


def saved_tensors_hooks() -> SavedTensorsHooks | None:
    """Return the innermost hooks on saved tensors in place, or ``None``."""
    found: SavedTensorsHooks | None = _engine._top_saved_tensors_default_hooks(True)
    return found


def gradient_hooks(x: Tensor) -> MutableMapping[int, Callable[..., Any]]:
    """Return the hooks on the gradient of ``x`` (``Tensor.register_hook``), by their ids.

    Where there are any it is what PyTorch itself keeps them in.
    """
    found: MutableMapping[int, Callable[..., Any]] | None = getattr(x, "_backward_hooks", None)
    return {} if found is None else found


def at_the_end_of_backward(then: Callable[[], None]) -> None:
    """Have ``then`` called at the end of the backward pass that is running now."""
    engine: Any = torch.autograd.Variable._execution_engine
    engine.queue_callback(then)
