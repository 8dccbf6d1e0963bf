"""The place after the layer that all that is learnt acts on the losses through.

Where adapters are trained within a frozen network, the last of them has others beside and before
it: the losses depend on more that is learnt than its output. But all of it passes, say, the frozen
norm before a frozen head. There the training pass may go on from what the scores were taken from,
as it does at a layer that is alone.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.autograd.graph import Node

from reweight._last_layer.cut import Place
from reweight._last_layer.findings import Findings

LEAF = "torch::autograd::AccumulateGrad"

# Between the place and the losses is a head; more nodes than these are a network.
_MOST_NODES = 300
_NONE = -1


def gate(losses: Tensor, places: Sequence[Place], graph: str, findings: Findings) -> Place | None:
    """Return the earliest of ``places`` without a way around it from what is learnt to the losses.

    Args:
        losses: ``(C,)``, with their graph.
        places: Outputs of modules that ran after the layer, in order.
        graph: What to know the graph by: where the gate was found it is looked for first.
        findings: What earlier steps found out.
    """
    known = findings.gates.get(graph)
    if known is not None:
        there = 0 <= known < len(places)
        return places[known] if there and not _leads_past(losses, places[known]) else None
    found = (n for n, place in enumerate(places) if not _leads_past(losses, place))
    number = next(found, _NONE)
    findings.note_gate(graph, number)
    return None if number == _NONE else places[number]


def _leads_past(losses: Tensor, place: Place) -> bool:
    """Whether something that is learnt is reached from ``losses`` without passing ``place``."""
    open_nodes: list[Node | None] = [losses.grad_fn]
    seen: set[Node | None] = {None, place.edge.node}
    while open_nodes:
        node = open_nodes.pop()
        if node in seen or node is None:
            continue
        seen.add(node)
        if node.name() == LEAF or len(seen) > _MOST_NODES:
            return True
        open_nodes.extend(behind for behind, _ in node.next_functions)
    return False
