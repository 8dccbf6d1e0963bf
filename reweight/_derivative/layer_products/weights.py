"""From a model's parameters to the weights that its operators were given, and back.

Most weights are a parameter, or one turned or reshaped. Others (normed, masked, sums of factors)
are computed from parameters by operators of their own, a small graph that holds no samples.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge, Node

from reweight._derivative.layer_products.samples import NotByLayers
from reweight._isolation.graph_leaves import nodes_behind
from reweight._torch_internals import gradient_hooks, leaf_of, output_shapes

Key = tuple[Node, int]
_RESHAPES = ("ViewBackward0", "UnsqueezeBackward0", "SqueezeBackward1", "ReshapeAliasBackward0")


class Weights:
    """The weights of all uses in a graph.

    Args:
        edges: Where they stand in the graph.

    Attributes:
        behind: The parameters that weights are computed from.

    Raises:
        NotByLayers: If a parameter that is not used as it is has gradient hooks.
    """

    def __init__(self, edges: Iterable[GradientEdge]) -> None:
        self._direct: dict[Key, tuple[Tensor, tuple[int, ...], bool]] = {}
        self._computed: dict[Key, GradientEdge] = {}
        for edge in edges:
            found = _as_it_is(edge)
            if found is None:
                self._computed[edge.node, edge.output_nr] = edge
            else:
                self._direct[edge.node, edge.output_nr] = found
        behind = nodes_behind(edge.node for edge in self._computed.values())
        leaves = {id(leaf): leaf for leaf in map(leaf_of, behind) if leaf is not None}
        self.behind = list(leaves.values())
        if any(gradient_hooks(leaf) for leaf in self.behind):
            raise NotByLayers("a parameter with gradient hooks is used in a computed weight")

    def moved(self, direction: Mapping[int, Tensor]) -> dict[Key, Tensor]:
        """Return how the weights move as the parameters do.

        Args:
            direction: v by the ``id`` of the parameter.
        """
        found = {}
        for key, (leaf, shape, turned) in self._direct.items():
            if id(leaf) in direction:
                v = direction[id(leaf)]
                found[key] = v.t() if turned else v.reshape(shape)
        return found | self._computed_moved(direction)

    def _computed_moved(self, direction: Mapping[int, Tensor]) -> dict[Key, Tensor]:
        """The derivative by u of ⟨Jᵀu, v⟩, which is linear in u, is J v."""
        behind = [leaf for leaf in self.behind if id(leaf) in direction]
        if not behind:
            return {}
        with torch.enable_grad():
            us = [
                torch.zeros(
                    output_shapes(node)[number],
                    dtype=behind[0].dtype,
                    device=behind[0].device,
                    requires_grad=True,
                )
                for node, number in self._computed
            ]
            pulled = torch.autograd.grad(
                list(self._computed.values()), behind, us, create_graph=True, allow_unused=True
            )
            terms = [
                (g * direction[id(leaf)]).sum()
                for leaf, g in zip(behind, pulled, strict=True)
                if g is not None and g.requires_grad
            ]
            if not terms:
                return {}
            found = torch.autograd.grad(
                torch.stack(terms).sum(), us, allow_unused=True, materialize_grads=True
            )
        return dict(zip(self._computed, found, strict=True))

    def pulled_back(self, gradients: Iterable[tuple[Key, Tensor]]) -> dict[int, Tensor]:
        """Return gradients by parameter, by its ``id``, from those by weights."""
        found: dict[int, Tensor] = {}
        computed: dict[Key, Tensor] = {}
        for key, gradient in gradients:
            if key in self._direct:
                leaf, _, turned = self._direct[key]
                own = gradient.t() if turned else gradient
                own = own if own.shape == leaf.shape else own.reshape(leaf.shape)
                found[id(leaf)] = _and(found.get(id(leaf)), own)
            else:
                computed[key] = _and(computed.get(key), gradient)
        if computed:
            pulled = torch.autograd.grad(
                [self._computed[key] for key in computed],
                self.behind,
                list(computed.values()),
                retain_graph=True,
                allow_unused=True,
            )
            for leaf, g in zip(self.behind, pulled, strict=True):
                if g is not None:
                    found[id(leaf)] = _and(found.get(id(leaf)), g)
        return found

    def leaf(self, key: Key) -> Tensor | None:
        """Return the parameter that a weight is, turned or reshaped, or ``None``."""
        return self._direct[key][0] if key in self._direct else None

    def is_turned(self, key: Key) -> bool:
        """Whether a weight is the transpose of that parameter."""
        return self._direct[key][2]


def _and(old: Tensor | None, term: Tensor) -> Tensor:
    """Return a sum; PyTorch adds a sparse tensor to a dense one, and not the other way round."""
    if old is None:
        return term
    return term + old if old.is_sparse else old + term


def _as_it_is(edge: GradientEdge) -> tuple[Tensor, tuple[int, ...], bool] | None:
    """Return the parameter that a weight is, the weight's shape, and whether it is turned."""
    node, shape = edge.node, output_shapes(edge.node)[edge.output_nr]
    leaf = leaf_of(node)
    if leaf is not None:
        return leaf, shape, False
    behind = node.next_functions[0][0] if len(node.next_functions) == 1 else None
    if node.name() == "TBackward0" and (leaf := leaf_of(behind)) is not None:
        return leaf, shape, leaf.dim() == 2
    while node.name() in _RESHAPES and behind is not None:
        if (leaf := leaf_of(behind)) is not None:
            return leaf, shape, False
        node, behind = behind, behind.next_functions[0][0]
    return None
