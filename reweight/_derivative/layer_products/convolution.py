"""Convolutions and their transposes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from reweight._derivative.layer_products.parts import Gradients, Part, summed, worth_a_table
from reweight._derivative.layer_products.samples import Samples, dot, one_by_one, spread
from reweight._derivative.layer_products.small import kept_by
from reweight._derivative.layer_products.uses import Use
from reweight._torch_internals import saved


class Convolution(Part):
    """A convolution, its input and δ.

    Args:
        use: The use.
        delta: δ.
    """

    def __init__(self, use: Use, delta: Tensor) -> None:
        node = use.made.node
        self._at, self._count = use.made.at, use.made.count
        self._options: list[Any] = [
            list(saved(node, "stride")),
            list(saved(node, "padding")),
            list(saved(node, "dilation")),
            bool(saved(node, "transposed")),
            list(saved(node, "output_padding")),
            int(saved(node, "groups")),
        ]
        self._weight = use.shapes.get(1)
        self._kept: list[Tensor] = []
        self._bias = 2 in use.weights
        self._tabled = False
        if self._bias:
            places = [1] * (delta.dim() - 2)
            of_each = summed(delta, self._at, (delta.shape[1], *places), self._count)
            self._kept.append(of_each.reshape(self._count, -1))
        if self._weight is not None:
            x = kept_by(use, "input")
            size = self._count * math.prod(self._weight)
            # How fast kernels of many groups are elsewhere is not known.
            self._tabled = x.device.type == "cpu" and worth_a_table(size, x, delta)
            self._kept += [x, delta]
            if self._tabled:
                every = self._of_each(x, delta, slice(None))
                self._kept[-2:] = [every]

    @override
    def kept(self) -> list[Tensor]:
        kept, self._kept = self._kept, []
        return kept

    @override
    def scores(self, kept: Sequence[Tensor], moved: Mapping[int, Tensor]) -> Tensor:
        total = kept[0].new_zeros(self._count)
        if self._bias and 2 in moved:
            total = total + kept[0] @ moved[2].reshape(-1)
        if 1 in moved and self._tabled:
            total = total + kept[-1].flatten(1) @ moved[1].reshape(-1)
        elif 1 in moved:
            x, delta = kept[-2:]
            tangent = torch.convolution(x, moved[1], None, *self._options)
            total = total + dot(tangent, delta, self._at, self._count)
        return total

    @override
    def weighted(self, kept: Sequence[Tensor], weights: Tensor) -> Gradients:
        found: Gradients = {}
        if self._bias:
            found[2] = weights.to(kept[0]) @ kept[0]
        if self._weight is not None and self._tabled:
            table = kept[-1]
            found[1] = (weights.to(table) @ table.flatten(1)).reshape(self._weight)
        elif self._weight is not None:
            x, delta = kept[-2:]
            found[1] = self._backward(x, delta * spread(weights, self._at, delta))
        return found

    @override
    def rows(self, kept: Sequence[Tensor], which: slice, place: int) -> Tensor:
        if place == 2:
            return kept[0][which]
        return kept[-1][which] if self._tabled else self._of_each(kept[-2], kept[-1], which)

    def _of_each(self, x: Tensor, delta: Tensor, which: slice) -> Tensor:
        """Return the weight's gradient of every sample, by one kernel: samples are its groups."""
        x, delta = (_as_channels(t, self._at, self._count, which) for t in (x, delta))
        count = len(range(self._count)[which])
        found = self._backward(x, delta, groups=count)
        assert self._weight is not None
        return found.reshape(count, *self._weight)

    def _backward(self, x: Tensor, delta: Tensor, *, groups: int = 1) -> Tensor:
        assert self._weight is not None
        # Of the weight it is the shape alone that counts.
        weight = delta.new_empty(1).expand(groups * self._weight[0], *self._weight[1:])
        options = [*self._options[:-1], groups * self._options[-1]]
        mask = [False, True, False]
        found: Tensor = torch.ops.aten.convolution_backward(delta, x, weight, None, *options, mask)[
            1
        ]
        return found


def _as_channels(x: Tensor, at: Samples, count: int, which: slice) -> Tensor:
    """Return ``x`` with the samples side by side in its channels."""
    apart = one_by_one(x, at, count)[which].flatten(1, 2)
    return apart.transpose(0, 1).flatten(1, 2)
