"""Scores and weighted gradients of one training pass, layer by layer."""

from __future__ import annotations

import zlib
from collections.abc import Collection, Mapping

import torch
from torch import Tensor

from reweight._derivative.layer_products.kinds import part_of
from reweight._derivative.layer_products.norms import UseOf, sum_of_squares
from reweight._derivative.layer_products.parts import Part
from reweight._derivative.layer_products.samples import NotByLayers
from reweight._derivative.layer_products.uses import uses_of
from reweight._derivative.layer_products.weighted_loss import Plan, weighted_loss
from reweight._derivative.layer_products.weights import Key, Weights


class LayerProducts:
    """⟨∇L_i, v⟩ and Σ w_i ∇L_i from one backward pass of Σ L_i that ends at the layers' outputs.

    Of a layer y = f(x, W) in a model that treats samples one by one, ∂L_i/∂W is Jᵀδ_i, J = ∂f/∂W
    and δ_i row i of ∂ΣL/∂y. So ``⟨∇L_i, v⟩ = Σ_layers ⟨δ_i, J v⟩``, and a weighted sum of gradients
    is Jᵀ of weighted rows (Goodfellow 2015, arXiv 1510.01799, for norms; "ghost clipping", Li et
    al. 2022). No tangent is carried through the model and there is no second backward pass.

    Args:
        losses: ``(C,)``, with their graph, which is kept.
        parameters: The trainable parameters by name.

    Attributes:
        losses: The losses.
        operators_in_short: What changes with the set of operators in the graph.
        convolutions: Whether there are any among them.

    Raises:
        NotByLayers: If it cannot be proved from the graph that no operator mixes samples, or
            something in it is not known.
    """

    def __init__(self, losses: Tensor, parameters: Mapping[str, Tensor]) -> None:
        _refuse(losses)
        found = uses_of(losses, {id(p) for p in parameters.values()})
        self.losses = losses
        names = " ".join(sorted(found.operators))
        self.operators_in_short: tuple[str, ...] = (f"{zlib.crc32(names.encode()):08x}",)
        self.convolutions: bool = "ConvolutionBackward0" in found.operators
        self._names = {id(p): name for name, p in parameters.items()}
        self._leaves = [p for p in parameters.values() if id(p) in found.leaves]
        if any(p.is_complex() or p.itemsize < 4 for p in self._leaves):
            raise NotByLayers("a parameter is complex or of half precision")
        uses = found.uses
        self._keys = [
            {k: (edge.node, edge.output_nr) for k, edge in use.weights.items()} for use in uses
        ]
        self._weights = Weights(e for use in uses for e in use.weights.values())
        # As a scalar: to give grad() a cotangent loads PyTorch's symbolic shapes.
        deltas: list[Tensor | None] = list(
            torch.autograd.grad(
                losses.sum(), [use.edge for use in uses], retain_graph=True, allow_unused=True
            )
        )
        self._parts: list[Part] = []
        self._kept: list[list[Tensor]] = []
        with torch.no_grad():
            for number, use in enumerate(uses):
                delta, deltas[number] = deltas[number], None
                if delta is None:
                    raise NotByLayers(f"no gradient comes to {use.made.node.name()}")
                part = part_of(use, delta)
                self._parts.append(part)
                self._kept.append(part.kept())

    def scores(self, direction: Mapping[str, Tensor]) -> Tensor:
        """Return ⟨∇L_i, v⟩ for every loss, ``(C,)``, detached.

        Args:
            direction: v by parameter name; a missing parameter counts as zero.
        """
        named = {name: key for key, name in self._names.items()}
        moved = self._weights.moved({named[n]: v for n, v in direction.items() if n in named})
        total = torch.zeros_like(self.losses).detach()
        with torch.no_grad():
            for part, kept, keys in zip(self._parts, self._kept, self._keys, strict=True):
                given = {k: moved[key] for k, key in keys.items() if key in moved}
                if given:
                    total += part.scores(kept, given).to(total)
        return total

    def norms(self, names: Collection[str]) -> Tensor:
        """Return ‖∇L_i‖ over some parameters for every loss, ``(C,)``, detached.

        Args:
            names: The parameters' names.
        """
        wanted = {key for key, name in self._names.items() if name in names}
        behind = {id(leaf) for leaf in self._weights.behind}
        uses: dict[int, list[UseOf]] = {}
        computed: list[tuple[Key, Part, list[Tensor], int]] = []
        for part, kept, keys in zip(self._parts, self._kept, self._keys, strict=True):
            for place, key in keys.items():
                leaf = self._weights.leaf(key)
                if leaf is None or id(leaf) in behind:
                    computed.append((key, part, kept, place))
                elif id(leaf) in wanted:
                    turned = self._weights.is_turned(key)
                    use = UseOf(part, kept, place, turned, leaf.numel())
                    uses.setdefault(id(leaf), []).append(use)
        with torch.no_grad():
            squares = sum_of_squares(list(uses.values()), self.losses.detach())
            if behind & wanted:
                squares += self._squares_behind(computed, wanted)
        return squares.sqrt()

    def _squares_behind(
        self, computed: list[tuple[Key, Part, list[Tensor], int]], wanted: set[int]
    ) -> Tensor:
        """The same for parameters that weights are computed from: one sample after the other."""
        squares = torch.zeros_like(self.losses).detach()
        for i in range(len(squares)):
            one = slice(i, i + 1)
            pulled = self._weights.pulled_back(
                (key, part.rows(kept, one, place)[0]) for key, part, kept, place in computed
            )
            for leaf, gradient in pulled.items():
                if leaf in wanted:
                    squares[i] += gradient.square().sum().to(squares)
        return squares

    def gradients(self, weights: Tensor) -> dict[str, Tensor]:
        """Return ``Σ_i w_i ∇L_i`` by parameter name.

        Args:
            weights: ``(C,)``.
        """
        with torch.no_grad():
            found = self._plan().gradients(self._kept, weights)
        return {self._names[key]: gradient for key, gradient in found.items()}

    def loss(self, weights: Tensor) -> Tensor:
        """Return ``Σ_i w_i L_i``, a scalar that back-propagates to the parameters.

        Args:
            weights: ``(C,)``, detached.
        """
        value = (weights * self.losses.detach()).sum()
        return weighted_loss(value, weights, self._plan(), self._kept, self._leaves)

    def _plan(self) -> Plan:
        return Plan(self._parts, self._keys, self._weights)


def _refuse(losses: Tensor) -> None:
    if losses.dim() != 1:
        raise NotByLayers("weights are per element, and layers are summed over a sample's elements")
    if losses.numel() < 2:
        raise NotByLayers("of a single sample there is nothing to tell apart")
    if losses.grad_fn is None:
        raise NotByLayers("the losses have no graph")
