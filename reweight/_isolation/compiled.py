"""Whether a compiler has a part in a model."""

from __future__ import annotations

import sys

from torch import Tensor, nn

from reweight._isolation.graph_leaves import nodes_of


def compiler_is_loaded() -> bool:
    """Whether anything may have been compiled: nothing can be before this is loaded."""
    return "torch._dynamo" in sys.modules


def uses_compiler(module: nn.Module) -> bool:
    """Whether ``module``, or a part of it, runs through ``torch.compile``."""
    dynamo = sys.modules.get("torch._dynamo")
    if dynamo is None:  # nothing can be compiled before it is loaded, and loading it is slow
        return False
    return any(
        isinstance(part, dynamo.OptimizedModule)
        or getattr(part, "_compiled_call_impl", None) is not None
        for part in module.modules()
    )


def runs_compiled(value: Tensor) -> bool:
    """Whether a part of the graph of ``value`` runs compiled: it may run backward once only."""
    return any("CompiledFunction" in node.name() for node in nodes_of(value))
