"""‖∇L_i‖ for every sample, from the same products."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from reweight._derivative.layer_products.parts import Part

# Gradients of samples are held for as many of them at a time as fit in this many numbers.
_MOST_NUMBERS = 2**26
# Relative errors that a norm may have from rounding; roundings that a sum of products may add up.
_TOLERATED = {torch.float32: 1e-4, torch.float64: 1e-11}
_ROUNDINGS = 32


@dataclass(frozen=True, slots=True, eq=False)
class UseOf:
    """One use of a parameter.

    Attributes:
        part: The operator.
        kept: What it works with.
        place: The parameter's place among its operands.
        turned: Whether it was given the parameter's transpose.
        numbers: How many the parameter has.
    """

    part: Part
    kept: Sequence[Tensor]
    place: int
    turned: bool
    numbers: int

    def rows(self, which: slice) -> Tensor:
        """Return the gradients of some samples by the parameter, ``(c, numbers)``."""
        found = self.part.rows(self.kept, which, self.place)
        return (found.mT if self.turned else found).reshape(len(found), -1)


def sum_of_squares(parameters: Sequence[Sequence[UseOf]], losses: Tensor) -> Tensor:
    """Return ‖∇L_i‖² over parameters, ``(C,)``.

    Args:
        parameters: For each, all of its uses: their gradients add up.
        losses: ``(C,)``.
    """
    total = torch.zeros_like(losses)
    for uses in parameters:
        total += _square(uses, len(losses)).to(total)
    return total


def _square(uses: Sequence[UseOf], count: int) -> Tensor:
    if len(uses) == 1:
        found = uses[0].part.square(uses[0].kept, uses[0].place)
        if found is not None:
            square, summed = found
            # An error in the square is half as large in its root.
            rounding = _ROUNDINGS * torch.finfo(square.dtype).eps / (2 * _TOLERATED[square.dtype])
            for i in (square < rounding * summed).nonzero().flatten().tolist():
                square[i] = uses[0].rows(slice(i, i + 1)).square().sum()
            return square
    step = max(1, _MOST_NUMBERS // uses[0].numbers)
    squares = []
    for start in range(0, count, step):
        which = slice(start, min(start + step, count))
        gradients = uses[0].rows(which)
        for use in uses[1:]:
            gradients = gradients + use.rows(which)
        squares.append(gradients.square().sum(1))
    return torch.cat(squares)
