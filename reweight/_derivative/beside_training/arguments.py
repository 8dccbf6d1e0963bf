"""The tensors among an operator's arguments and results."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from reweight._torch_internals import without_subclasses

_SIMPLE = frozenset({int, float, bool, str, type(None), torch.dtype, torch.device, torch.Size})


def tensors_in(value: Any) -> Iterator[Tensor]:
    """Yield every tensor in ``value``, in order; containers are those an operator may take."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for part in value:
            yield from tensors_in(part)
    elif isinstance(value, dict):
        for part in value.values():
            yield from tensors_in(part)


def differentiable_in(args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Tensor]:
    """Return the tensors among an operator's arguments that require a gradient, in order."""
    found: list[Tensor] = []
    for value in (*args, *kwargs.values()) if kwargs else args:
        kind = type(value)
        if kind is Tensor or kind is nn.Parameter:
            if value.requires_grad:
                found.append(value)
        elif kind not in _SIMPLE:
            with without_subclasses():
                found += [x for x in tensors_in(value) if x.requires_grad]
    return found


def with_tensors(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """Return ``value`` with every tensor in it replaced by ``change`` of it."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, list | tuple):
        parts = [with_tensors(part, change) for part in value]
        if isinstance(value, list):
            return parts
        return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    if isinstance(value, dict):
        return {key: with_tensors(part, change) for key, part in value.items()}
    return value
