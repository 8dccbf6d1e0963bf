"""Linear layers: y = x @ M + b, M a matrix (in, out)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor
from typing_extensions import override

from reweight._derivative.layer_products.parts import Gradients, Part, worth_a_table
from reweight._derivative.layer_products.samples import Samples, dot, one_by_one, spread
from reweight._derivative.layer_products.small import kept_by
from reweight._derivative.layer_products.uses import Use
from reweight._long_products import over_places
from reweight._torch_internals import saved


def is_affine(use: Use) -> bool:
    """Whether the samples are rows, and the matrix is a weight."""
    node, matrix = use.made.node, _place_of_matrix(use)
    if use.made.at.side != 0 or not set(use.weights) <= {0, matrix}:
        return False
    if matrix == 1:
        return True
    if 0 in use.weights and use.shapes[0] not in (use.made.shape[1:], (1, *use.made.shape[1:])):
        return False
    return bool(saved(node, "alpha") == 1 and saved(node, "beta") == 1)


def _place_of_matrix(use: Use) -> int:
    return 1 if use.made.node.name().startswith("Mm") else 2


class Affine(Part):
    """A linear layer, its input and δ.

    Args:
        use: The use.
        delta: δ.
    """

    def __init__(self, use: Use, delta: Tensor) -> None:
        self._at, self._count = use.made.at, use.made.count
        self._matrix = matrix = _place_of_matrix(use)
        self._bias = use.shapes.get(0) if matrix == 2 else None
        self._kept: list[Tensor] = []
        self._tabled = False
        if self._bias is not None:
            bias = one_by_one(delta, self._at, self._count).sum((1, 2))
            self._kept.append(bias)
        if matrix in use.weights:
            x = kept_by(use, "self" if matrix == 1 else "mat1")
            size = self._count * x.shape[1] * delta.shape[1]
            self._tabled = worth_a_table(size, x, delta)
            if self._tabled:
                self._kept.append(_outer(x, delta, self._at, self._count))
            else:
                self._kept += [x, delta]

    @override
    def kept(self) -> list[Tensor]:
        kept, self._kept = self._kept, []
        return kept

    def _split(self, kept: Sequence[Tensor]) -> tuple[Tensor | None, Sequence[Tensor]]:
        return (None, kept) if self._bias is None else (kept[0], kept[1:])

    @override
    def scores(self, kept: Sequence[Tensor], moved: Mapping[int, Tensor]) -> Tensor:
        bias, rest = self._split(kept)
        total = kept[0].new_zeros(self._count)
        if bias is not None and 0 in moved:
            total = total + bias @ moved[0].reshape(-1)
        if self._matrix in moved:
            v = moved[self._matrix]
            if self._tabled:
                return total + rest[0].flatten(1) @ v.t().reshape(-1)
            x, delta = rest
            total = total + dot(x @ v, delta, self._at, self._count)
        return total

    @override
    def weighted(self, kept: Sequence[Tensor], weights: Tensor) -> Gradients:
        bias, rest = self._split(kept)
        found: Gradients = {}
        if bias is not None and self._bias is not None:
            found[0] = (weights.to(bias) @ bias).reshape(self._bias)
        if not rest:
            return found
        if self._tabled:
            table = rest[0]
            sums = (weights.to(table) @ table.flatten(1)).reshape(table.shape[1:])
        else:
            x, delta = rest
            # One of the two is scaled, the smaller.
            if x.shape[1] < delta.shape[1]:
                x = x * spread(weights, self._at, x)
            else:
                delta = delta * spread(weights, self._at, delta)
            sums = delta.t() @ x
        found[self._matrix] = sums.t()
        return found

    @override
    def square(self, kept: Sequence[Tensor], place: int) -> tuple[Tensor, Tensor] | None:
        """‖Xᵀ Δ‖² = Σ_ts ⟨x_t, x_s⟩⟨δ_t, δ_s⟩ ("ghost norms", Li et al. 2022)."""
        if place != self._matrix or self._tabled:
            return None
        x, delta = (one_by_one(t, self._at, self._count).flatten(1, -2) for t in kept[-2:])
        products = (x @ x.mT) * (delta @ delta.mT)
        return products.sum((1, 2)), products.abs().sum((1, 2))

    @override
    def rows(self, kept: Sequence[Tensor], which: slice, place: int) -> Tensor:
        bias, rest = self._split(kept)
        if place != self._matrix:
            assert bias is not None
            assert self._bias is not None
            return bias[which].reshape(-1, *self._bias)
        if self._tabled:
            return rest[0][which].mT
        x, delta = (one_by_one(t, self._at, self._count)[which] for t in rest)
        return over_places(x.flatten(1, -2).mT, delta.flatten(1, -2).mT)


def _outer(x: Tensor, delta: Tensor, at: Samples, count: int) -> Tensor:
    """Return the gradient of every sample by the matrix's transpose, ``(C, out, in)``."""
    x, delta = (one_by_one(t, at, count).flatten(1, -2) for t in (x, delta))
    return over_places(delta.mT, x.mT)
