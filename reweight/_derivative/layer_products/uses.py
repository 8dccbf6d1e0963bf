"""Where a graph uses weights, and a proof that nothing else in it mixes the samples.

From the losses, one a sample, the graph is followed back, and with every tensor goes the side that
the samples lie along. What lies nowhere is a weight: a parameter, or what is computed from
parameters and constants alone. An operator that is given weights and returns samples *uses* them:
row i of the gradient by its result is ∂L_i/∂y_i, whatever the batch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from torch import Tensor
from torch.autograd.graph import GradientEdge, Node, get_gradient_edge

from reweight._derivative.layer_products.operators import sides_of
from reweight._derivative.layer_products.samples import NotByLayers, Samples, Shape
from reweight._derivative.layer_products.sides import Made
from reweight._torch_internals import leaf_of, output_shapes

_LEAF = "torch::autograd::AccumulateGrad"


@dataclass(frozen=True, slots=True, eq=False)
class Use:
    """An operator that returns samples and was given weights.

    Attributes:
        made: What it returned.
        weights: By their place among its operands.
        shapes: Theirs.
        consumers: Of each node of the whole graph, how many operands its results are.
    """

    made: Made
    weights: dict[int, GradientEdge]
    shapes: dict[int, Shape]
    consumers: Mapping[Node, int]

    @property
    def edge(self) -> GradientEdge:
        """Where the result stands in the graph."""
        return GradientEdge(self.made.node, self.made.number)


@dataclass(slots=True)
class Uses:
    """All of a graph's.

    Attributes:
        uses: In the order in which a backward pass meets them, about.
        leaves: The parameters that the losses depend on, by ``id``.
        operators: The names of all operators that returned samples.
        shapes: Of all results of a node, once they were asked for.
        consumers: Of each node followed so far, how many operands its results are.
    """

    uses: list[Use] = field(default_factory=list)
    leaves: dict[int, Tensor] = field(default_factory=dict)
    operators: set[str] = field(default_factory=set)
    shapes: dict[Node, list[Shape]] = field(default_factory=dict)
    consumers: Counter[Node] = field(default_factory=Counter)

    def shape(self, node: Node, number: int) -> Shape:
        """Return the shape of a result."""
        if node not in self.shapes:
            self.shapes[node] = output_shapes(node)
        return self.shapes[node][number]


def uses_of(losses: Tensor, parameters: Collection[int]) -> Uses:
    """Follow the graph of ``losses``, ``(C,)``.

    Args:
        losses: With their graph.
        parameters: The ``id`` of each parameter of the model.

    Raises:
        NotByLayers: If an operator may mix the samples, or the losses depend on something else.
    """
    count = losses.numel()
    found = Uses()
    start = get_gradient_edge(losses)
    seen: dict[tuple[Node, int], Samples | None] = {}
    ends: list[tuple[Node, int, Samples | None]] = [(start.node, start.output_nr, Samples(0))]
    while ends:
        node, number, at = ends.pop()
        if (node, number) in seen:
            if seen[node, number] != at:
                raise NotByLayers(
                    f"the result of {node.name()} is used both sample by sample and over samples"
                )
            continue
        seen[node, number] = at
        if node.name() == _LEAF:
            _look_at_leaf(leaf_of(node), at, parameters, found)
            continue
        behind: list[tuple[Node, int, Samples | None]]
        if at is None:
            behind = [(n, k, None) for n, k in node.next_functions if n is not None]
        else:
            behind = _behind(node, number, at, count, found)
        found.consumers.update(operand for operand, _, _ in behind)
        ends += behind
    return found


def _behind(
    node: Node, number: int, at: Samples, count: int, found: Uses
) -> list[tuple[Node, int, Samples | None]]:
    """Return the operands of what returned samples, and note it if it uses weights."""
    operands = node.next_functions
    given = [None if n is None else found.shape(n, k) for n, k in operands]
    made = Made(node, number, found.shape(node, number), at, given, count)
    found.operators.add(node.name())
    behind: list[tuple[Node, int, Samples | None]] = []
    weights: dict[int, GradientEdge] = {}
    for place, ((operand, k), side) in enumerate(zip(operands, sides_of(made), strict=True)):
        if operand is None:
            continue
        if side is None:
            weights[place] = GradientEdge(operand, k)
        behind.append((operand, k, side))
    if weights:
        shapes = {place: shape for place in weights if (shape := given[place]) is not None}
        found.uses.append(Use(made, weights, shapes, found.consumers))
    return behind


def _look_at_leaf(
    leaf: Tensor | None, at: Samples | None, parameters: Collection[int], found: Uses
) -> None:
    if leaf is None or id(leaf) not in parameters:
        raise NotByLayers(
            "the losses depend on a tensor that requires a gradient and is no parameter"
        )
    if at is not None:
        raise NotByLayers(f"a parameter of shape {tuple(leaf.shape)} has a part for each sample")
    found.leaves[id(leaf)] = leaf
