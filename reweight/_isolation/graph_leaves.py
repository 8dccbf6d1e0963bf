"""What a graph leads back to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor


def recomputes(value: Tensor) -> bool:
    """Whether the graph of ``value`` holds a reentrant checkpoint, which hides what is inside."""
    return any("CheckpointFunction" in node.name() for node in _nodes(value))


def leaves_of(value: Tensor) -> Iterator[Tensor]:
    """Yield the leaves that a backward pass from ``value`` would reach, each once."""
    if value.grad_fn is None:
        if value.requires_grad:
            yield value
        return
    for node in _nodes(value):
        variable = getattr(node, "variable", None)
        if isinstance(variable, Tensor):
            yield variable


def _nodes(value: Tensor) -> Iterator[Any]:
    if value.grad_fn is None:
        return
    stack: list[Any] = [value.grad_fn]
    seen = {value.grad_fn}
    while stack:
        node = stack.pop()
        yield node
        for following, _ in node.next_functions:
            if following is not None and following not in seen:
                seen.add(following)
                stack.append(following)
