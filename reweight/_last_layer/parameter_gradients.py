"""From ∂L/∂z to the gradient of the layer's own parameters, per sample or for the whole batch."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call, vjp, vmap
from torch.nn import functional as F

from reweight._last_layer.output_gradients import CONVOLUTIONS
from reweight._last_layer.trace import LayerTrace
from reweight._long_products import over_places

# Numbers that are copied at most to have several offsets of a kernel in one product.
_MOST_COPIED = 2**23


def per_sample_gradients(trace: LayerTrace, inputs: Tensor, rows: Tensor) -> list[Tensor]:
    """Return the parameter gradients of each sample.

    Args:
        trace: A layer that treats rows one by one.
        inputs: What it was fed, ``(C, ...)``.
        rows: ∂L_i/∂z_i, ``(C, ...)``.

    Returns:
        For each of ``trace.parameters``, ``(C, *shape)``.
    """
    layer = trace.layer
    if isinstance(layer, nn.Linear):
        return [
            _sum_positions(rows, channels=-1)
            if name == "bias"
            else over_places(*(x.reshape(len(x), -1, x.shape[-1]).mT for x in (rows, inputs)))
            for name in trace.parameters
        ]
    if isinstance(layer, CONVOLUTIONS) and _has_plain_padding(layer):
        return [
            _sum_positions(rows, channels=1)
            if name == "bias"
            else _convolution_weight_gradients(layer, inputs, rows)
            for name in trace.parameters
        ]

    def of_one(given: Tensor, row: Tensor) -> tuple[Tensor, ...]:
        return tuple(whole_batch_gradients(trace, given[None], row[None]))

    return list(vmap(of_one)(inputs, rows))


def whole_batch_gradients(trace: LayerTrace, inputs: Tensor, gradient: Tensor) -> list[Tensor]:
    """Return the parameter gradients that ``gradient``, ∂L/∂z, gives in all rows together."""
    layer = trace.layer
    assert layer is not None

    def output(parameters: dict[str, Tensor]) -> Tensor:
        value: Tensor = functional_call(layer, parameters, (inputs,))
        return value

    pull_back = vjp(output, {name: p.detach() for name, p in trace.parameters.items()})[1]
    return list(pull_back(gradient)[0].values())


def _has_plain_padding(layer: nn.Module) -> bool:
    return layer.padding_mode == "zeros" and not isinstance(layer.padding, str)


def _sum_positions(rows: Tensor, channels: int) -> Tensor:
    last = rows.movedim(channels, -1)
    return last.reshape(len(last), -1, last.shape[-1]).sum(dim=1)


def _convolution_weight_gradients(
    layer: nn.Conv1d | nn.Conv2d | nn.Conv3d, inputs: Tensor, rows: Tensor
) -> Tensor:
    """Return the weight's gradient of each sample: one batched matrix product per kernel offset.

    A convolution grouped by sample does the same, with many times the memory on the CPU, where
    groups of few channels are padded. The gradient is spread over the padded input's grid, zero
    where the convolution did not go; then what an offset of the kernel saw is the flattened input
    from some position on, and nothing is copied. On a GPU, where it takes longer to ask for a
    product than to make it, some offsets are copied side by side for one product.
    """
    count, groups = len(inputs), layer.groups
    assert not isinstance(layer.padding, str)
    padded = F.pad(inputs, [side for side in reversed(layer.padding) for _ in range(2)])
    grid = padded.shape[2:]
    spread = rows.new_zeros((*rows.shape[:2], *grid))
    went = tuple(
        slice(0, (size - 1) * stride + 1, stride)
        for size, stride in zip(rows.shape[2:], layer.stride, strict=True)
    )
    spread[(slice(None), slice(None), *went)] = rows
    length = math.prod(grid)
    a = padded.reshape(count * groups, -1, length)
    z = spread.reshape(count * groups, -1, length)
    shifts = _shifts(layer, grid)
    # So far that all offsets see as many places: beyond them the gradient is zero.
    z = z[..., : length - shifts[-1]]
    at_once = _offsets_at_once(a)
    parts = [
        _at_shifts(z, a, shifts[first : first + at_once])
        for first in range(0, len(shifts), at_once)
    ]
    return torch.cat(parts, dim=-1).reshape(count, *layer.weight.shape)


def _offsets_at_once(a: Tensor) -> int:
    return 1 if a.device.type == "cpu" else max(1, _MOST_COPIED // a.numel())


def _shifts(layer: nn.Conv1d | nn.Conv2d | nn.Conv3d, grid: Sequence[int]) -> list[int]:
    """Return how far each offset of the kernel is from the first, in the flattened grid."""
    shifts = []
    for offset in itertools.product(*(range(side) for side in layer.kernel_size)):
        shift = 0
        for at, dilation, size in zip(offset, layer.dilation, grid, strict=True):
            shift = shift * size + at * dilation
        shifts.append(shift)
    return shifts


def _at_shifts(z: Tensor, a: Tensor, shifts: Sequence[int]) -> Tensor:
    """Return the products of ``z`` with ``a`` from each shift on, ``(N, O, I, shifts)``."""
    places = z.shape[-1]
    seen = [a[..., shift : shift + places] for shift in shifts]
    if len(seen) == 1:
        return over_places(z, seen[0]).unsqueeze(-1)
    products = over_places(z, torch.stack(seen, dim=2).flatten(1, 2))
    return products.reshape(*z.shape[:2], a.shape[1], len(shifts))
