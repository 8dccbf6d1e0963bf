"""Embeddings: rows of the weight, looked up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F
from typing_extensions import override

from reweight._derivative.layer_products.parts import Gradients, Part
from reweight._derivative.layer_products.samples import NotByLayers, dot, one_by_one, spread
from reweight._derivative.layer_products.small import kept_by
from reweight._derivative.layer_products.uses import Use
from reweight._torch_internals import saved


class Embedding(Part):
    """An embedding, its indices and δ.

    Args:
        use: The use.
        delta: δ.

    Raises:
        NotByLayers: If it divides gradients by how often an index is in the batch.
    """

    def __init__(self, use: Use, delta: Tensor) -> None:
        node = use.made.node
        if saved(node, "scale_grad_by_freq"):
            raise NotByLayers("an embedding with scale_grad_by_freq mixes samples")
        self._at, self._count = use.made.at, use.made.count
        self._number = use.shapes[0][0]
        unused = int(saved(node, "padding_idx"))
        self._unused = unused if 0 <= unused < self._number else -1
        self._sparse = bool(saved(node, "sparse"))
        self._kept = [kept_by(use, "indices"), delta]

    @override
    def kept(self) -> list[Tensor]:
        kept, self._kept = self._kept, []
        return kept

    @override
    def scores(self, kept: Sequence[Tensor], moved: Mapping[int, Tensor]) -> Tensor:
        indices, delta = kept
        if 0 not in moved:
            return delta.new_zeros(self._count)
        tangent = F.embedding(indices, moved[0])
        if self._unused >= 0:  # no gradient goes there
            tangent = tangent.masked_fill((indices == self._unused).unsqueeze(-1), 0)
        return dot(tangent, delta, self._at, self._count)

    @override
    def weighted(self, kept: Sequence[Tensor], weights: Tensor) -> Gradients:
        indices, delta = kept
        scaled = delta * spread(weights, self._at, delta)
        return {0: self._backward(indices, scaled, sparse=self._sparse)}

    @override
    def square(self, kept: Sequence[Tensor], place: int) -> tuple[Tensor, Tensor] | None:
        """Σ_ts ⟨δ_t, δ_s⟩ over places t, s of one index."""
        indices, delta = kept
        at = one_by_one(indices.unsqueeze(-1), self._at, self._count).flatten(1)
        parts = one_by_one(delta, self._at, self._count).flatten(1, -2)
        same = (at.unsqueeze(1) == at.unsqueeze(2)) & (at != self._unused).unsqueeze(1)
        products = (parts @ parts.mT) * same
        return products.sum((1, 2)), products.abs().sum((1, 2))

    @override
    def rows(self, kept: Sequence[Tensor], which: slice, place: int) -> Tensor:
        indices, delta = kept
        places = one_by_one(indices.unsqueeze(-1), self._at, self._count)[which]
        parts = one_by_one(delta, self._at, self._count)[which]
        each = zip(places.squeeze(-1), parts, strict=True)
        return torch.stack([self._backward(i, d, sparse=False) for i, d in each])

    def _backward(self, indices: Tensor, delta: Tensor, *, sparse: bool) -> Tensor:
        found: Tensor = torch.ops.aten.embedding_backward(
            delta, indices, self._number, self._unused, False, sparse
        )
        return found
