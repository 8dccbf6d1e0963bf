"""Which layer of a TorchScript module runs last, read from its program."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import nn


def last_scripted_layer(module: nn.Module) -> nn.Module:
    """Return the layer whose weights a scripted module uses last, or it all if that is unsure.

    It is not where that use stands in a branch or a loop, which may or may not run.
    """
    owners = {
        name: part
        for name, part in module.named_modules()
        if not any(_learns(inner) for inner in part.modules() if inner is not part)
    }
    trainable = {
        f"{path}.{name}" if path else name: part
        for path, part in owners.items()
        for name, p in part.named_parameters(recurse=False)
        if p.requires_grad
    }
    try:
        graph: Any = module.inlined_graph
    except RuntimeError:  # a module without a forward method
        return module
    last, certain = None, True
    for name, in_block in _uses(graph, {next(graph.inputs()).debugName(): ""}, in_block=False):
        if name in trainable:
            last, certain = trainable[name], not in_block
    return last if last is not None and certain else module


def _learns(part: nn.Module) -> bool:
    return any(p.requires_grad for p in part.parameters(recurse=False))


def _uses(block: Any, names: dict[str, str], *, in_block: bool) -> Iterator[tuple[str, bool]]:
    """Yield the attributes that the program uses, in order, and whether a branch or loop does."""
    for node in block.nodes():
        inputs = [names[v.debugName()] for v in node.inputs() if v.debugName() in names]
        if node.kind() == "prim::GetAttr":
            if inputs:
                path = f"{inputs[0]}.{node.s('name')}" if inputs[0] else node.s("name")
                names[node.output().debugName()] = path
            continue
        yield from ((name, in_block) for name in inputs)
        for inner in node.blocks():
            yield from _uses(inner, names, in_block=True)
