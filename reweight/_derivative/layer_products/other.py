"""Uses of weights that no product is written for: the operator's own backward pass, alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.autograd.graph import Node
from typing_extensions import override

from reweight._derivative.layer_products.parts import Gradients, Part
from reweight._derivative.layer_products.samples import NotByLayers, spread
from reweight._derivative.layer_products.uses import Use
from reweight._isolation.graph_leaves import nodes_behind
from reweight._torch_internals import gradient_hooks, leaf_of


class Other(Part):
    """Any operator.

    Its gradient by a weight is linear in δ: with every row of δ times a number of its own, 1, the
    derivative by those numbers of the product with v is ``⟨∂L_i/∂W, v⟩``.

    Args:
        use: The use. Its weights lead nowhere else that samples come from.
        delta: δ.

    Raises:
        NotByLayers: If they do, or have gradient hooks, which this would call.
    """

    def __init__(self, use: Use, delta: Tensor) -> None:
        if any(_has_hooks(edge.node) for edge in use.weights.values()):
            raise NotByLayers(
                "a parameter with gradient hooks is used by an operator without products"
            )
        self._at, self._count = use.made.at, use.made.count
        self._edge, self._weights, self._shapes = use.edge, use.weights, use.shapes
        if _reach_weights_elsewhere(use):
            name = use.made.node.name()
            raise NotByLayers(f"what {name} is given a weight for is used by what comes before it")
        self._kept = [delta]

    @override
    def kept(self) -> list[Tensor]:
        kept, self._kept = self._kept, []
        return kept

    @override
    def scores(self, kept: Sequence[Tensor], moved: Mapping[int, Tensor]) -> Tensor:
        delta = kept[0]
        if not moved:
            return delta.new_zeros(self._count)
        with torch.enable_grad():
            ones = torch.ones(self._count, dtype=delta.dtype, device=delta.device)
            ones.requires_grad_()
            found = self._backward(delta * spread(ones, self._at, delta), create_graph=True)
            total = torch.stack([(found[k] * v).sum() for k, v in moved.items()]).sum()
            (scores,) = torch.autograd.grad(total, ones, allow_unused=True, materialize_grads=True)
        return scores

    @override
    def weighted(self, kept: Sequence[Tensor], weights: Tensor) -> Gradients:
        return self._backward(kept[0] * spread(weights, self._at, kept[0]))

    @override
    def rows(self, kept: Sequence[Tensor], which: slice, place: int) -> Tensor:
        numbers = range(self._count)[which]
        each = (self.weighted(kept, _only(number, self._count, kept[0])) for number in numbers)
        return torch.stack([found[place] for found in each])

    def _backward(self, delta: Tensor, *, create_graph: bool = False) -> Gradients:
        found = torch.autograd.grad(
            [self._edge],
            list(self._weights.values()),
            [delta],
            retain_graph=True,
            create_graph=create_graph,
            allow_unused=True,
        )
        return {
            k: delta.new_zeros(self._shapes[k]) if g is None else g
            for k, g in zip(self._weights, found, strict=True)
        }


def _only(number: int, count: int, like: Tensor) -> Tensor:
    weights = torch.zeros(count, dtype=like.dtype, device=like.device)
    weights[number] = 1
    return weights


def _has_hooks(node: Node) -> bool:
    leaf = leaf_of(node)
    return leaf is not None and bool(gradient_hooks(leaf))


def _reach_weights_elsewhere(use: Use) -> bool:
    """Whether the weights are also used by what the other operands were computed from."""
    wanted = {edge.node for edge in use.weights.values()}
    if all(use.consumers[node] == 1 for node in wanted):
        return False
    operands = use.made.node.next_functions
    ends = (node for place, (node, _) in enumerate(operands) if place not in use.weights)
    return any(node in wanted for node in nodes_behind(ends))
