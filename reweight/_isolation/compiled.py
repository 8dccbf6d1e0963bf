"""Whether a compiled function has a part in a pass."""

from __future__ import annotations

from torch import Tensor

from reweight._isolation.graph_leaves import nodes_of


def runs_compiled(value: Tensor) -> bool:
    """Whether a part of the graph of ``value`` runs compiled: it may run backward once only."""
    return any("CompiledFunction" in node.name() for node in nodes_of(value))
