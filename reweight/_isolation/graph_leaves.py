"""What a graph leads back to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from torch import Tensor


def leaves_of(value: Tensor) -> Iterator[Tensor]:
    """Yield the leaves that a backward pass from ``value`` would reach, each once."""
    if value.grad_fn is None:
        if value.requires_grad:
            yield value
        return
    for node in nodes_of(value):
        variable = getattr(node, "variable", None)
        if isinstance(variable, Tensor):
            yield variable


def nodes_of(value: Tensor) -> Iterator[Any]:
    """Yield the nodes of the graph of ``value``, each once."""
    return nodes_behind([value.grad_fn])


def nodes_behind(ends: Iterable[Any]) -> Iterator[Any]:
    """Yield nodes and all that a graph leads from them back to, each once.

    Args:
        ends: The nodes to begin at; ``None`` among them is passed over.
    """
    stack = list(dict.fromkeys(node for node in ends if node is not None))
    seen = set(stack)
    while stack:
        node = stack.pop()
        yield node
        for following, _ in node.next_functions:
            if following is not None and following not in seen:
                seen.add(following)
                stack.append(following)
