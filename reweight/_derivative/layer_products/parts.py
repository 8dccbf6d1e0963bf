"""What one use of weights has to do with the samples' gradients.

With δ the gradient of the summed losses by what a use returned, row i of which is sample i's own,
∂L_i/∂W is Jᵀδ_i, J the derivative of that one operator by the weight. Where such a gradient is
hardly larger than what it is made of, it is computed for every sample at once, a *table*; score,
weighted gradient and norm are then products with it. Else they are products of the operator's
input and δ.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

from torch import Tensor
from typing_extensions import override

from reweight._derivative.layer_products.samples import Samples, Shape, one_by_one
from reweight._derivative.layer_products.uses import Use

# A table so many times larger than what it is made of is still the faster way.
_LARGEST_TABLE = 2.5

Gradients = dict[int, Tensor]
"""By the place of the weight among the operands."""


class Part(ABC):
    """One use, once δ is known.

    It holds no large tensor itself: what :meth:`kept` returned once is handed back to it.
    """

    @abstractmethod
    def kept(self) -> list[Tensor]:
        """Return the tensors that it works with, and let go of them."""

    @abstractmethod
    def scores(self, kept: Sequence[Tensor], moved: Mapping[int, Tensor]) -> Tensor:
        """Return ``⟨δ_i, Σ_k J_k v_k⟩`` for every sample, ``(C,)``.

        Args:
            kept: What :meth:`kept` returned.
            moved: v, by the place of the weight; missing where it is zero.
        """

    @abstractmethod
    def weighted(self, kept: Sequence[Tensor], weights: Tensor) -> Gradients:
        """Return ``Σ_i w_i J_kᵀ δ_i`` for every weight.

        Args:
            kept: What :meth:`kept` returned.
            weights: ``(C,)``.
        """

    @abstractmethod
    def rows(self, kept: Sequence[Tensor], which: slice, place: int) -> Tensor:
        """Return ``J_kᵀ δ_i``, ``(c, *shape)``, of the samples of a slice, for one weight alone.

        Args:
            kept: What :meth:`kept` returned.
            which: The samples.
            place: The weight's.
        """

    def square(self, kept: Sequence[Tensor], place: int) -> tuple[Tensor, Tensor] | None:  # noqa: ARG002
        """Return ``‖J_kᵀ δ_i‖²``, ``(C,)``, and the size of what was summed, without the gradients.

        ``None`` if there is no such way.
        """
        return None


class Tables(Part):
    """The gradients of every sample.

    Args:
        tables: ``(C, *shape)`` for every weight.
    """

    def __init__(self, tables: Gradients) -> None:
        self._places = list(tables)
        self._tables = list(tables.values())

    @override
    def kept(self) -> list[Tensor]:
        tables, self._tables = self._tables, []
        return tables

    @override
    def scores(self, kept: Sequence[Tensor], moved: Mapping[int, Tensor]) -> Tensor:
        total = kept[0].new_zeros(len(kept[0]))
        for place, table in zip(self._places, kept, strict=True):
            if place in moved:
                total = total + table.reshape(len(table), -1) @ moved[place].reshape(-1)
        return total

    @override
    def weighted(self, kept: Sequence[Tensor], weights: Tensor) -> Gradients:
        return {
            place: (weights.to(table) @ table.reshape(len(table), -1)).reshape(table.shape[1:])
            for place, table in zip(self._places, kept, strict=True)
        }

    @override
    def rows(self, kept: Sequence[Tensor], which: slice, place: int) -> Tensor:
        return kept[self._places.index(place)][which]


def summed(local: Tensor, at: Samples, shape: Shape, count: int) -> Tensor:
    """Return the gradient of every sample, ``(C, *shape)``, by an operand that was broadcast.

    Args:
        local: The gradient by the operand, at every place of the result.
        at: Where the samples lie in the result.
        shape: The operand's, without the samples.
        count: How many samples there are.
    """
    apart = one_by_one(local, at, count)
    lead = local.dim() - len(shape)
    gone = {1, 2 + at.side}
    gone |= {2 + d for d in range(local.dim()) if d < lead or shape[d - lead] == 1}
    total = apart.sum(sorted(gone)) if any(apart.shape[d] > 1 for d in gone) else apart
    return total.reshape(count, *shape)


def worth_a_table(size: int, x: Tensor, delta: Tensor) -> bool:
    """Whether the gradients of all samples are to be computed, of so many numbers in all.

    Args:
        size: How many.
        x: The operator's input.
        delta: δ.
    """
    return size <= _LARGEST_TABLE * (x.numel() + delta.numel())


def tables_of(use: Use, local: Mapping[int, Tensor]) -> Tables:
    """Return the tables of operands that were broadcast.

    Args:
        use: The use.
        local: The gradient by every weight, at every place of the result.
    """
    made = use.made
    return Tables({k: summed(local[k], made.at, use.shapes[k], made.count) for k in use.weights})
