"""‖∂L_e/∂θ_out‖ for every element e of a loss map."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reweight._dtypes import at_least_float32, largest_or_one
from reweight._last_layer.output_gradients import (
    CONVOLUTIONS,
    TRANSPOSED_CONVOLUTIONS,
    distinct_scales,
    output_gradients,
    reads_rows,
)
from reweight._last_layer.trace import LayerTrace


def element_norms(losses: Tensor, trace: LayerTrace) -> Tensor | None:
    """Return ‖∂L_e/∂θ_out‖₂ for every element e of a loss map.

    Its square is ``Σ_k (∂L_e/∂z_ek)² (‖a_ek‖² + 1)``, k the channels of the element, a_ek the part
    of the layer's input that z_ek was computed from (a patch, for a convolution), and the 1 there
    for a bias. An element is one number of the layer's output (a squared error, say), or all
    channels at one position (a cross-entropy).

    Args:
        losses: ``(C, *S)`` with their graph, which is kept.
        trace: The layer's calls in that graph.

    Returns:
        ``(C, *S)``, detached; ``None`` where the formula does not hold: if an element's loss does
        not depend on the layer's output at that element alone (found out in every batch), or the
        layer is neither ``nn.Linear`` nor a convolution, transposed or not, padded with zeros.
    """
    layer = trace.layer
    found = _independent_rows(losses, trace)
    if found is None:
        return None
    rows, call = at_least_float32(found), trace.calls[0]
    sizes = torch.zeros_like(rows)
    if "weight" in trace.parameters:
        sizes = sizes + _squared_patches(at_least_float32(call.args[0].detach()), layer)
    if "bias" in trace.parameters:
        sizes = sizes + 1
    scale = largest_or_one(rows)  # squares of tiny gradients must not underflow
    squares = (rows / scale).square() * sizes
    if losses.shape != rows.shape:
        squares = squares.sum(dim=_channel_dimension(layer))
    return squares.sqrt() * scale


def _independent_rows(losses: Tensor, trace: LayerTrace) -> Tensor | None:
    """Return ∂L_e/∂z_e in the shape of z, or ``None`` if some ∂L_e/∂z_f is not zero."""
    layer = trace.layer
    if not reads_rows(trace) or len(trace.calls) != 1:
        return None
    if isinstance(layer, CONVOLUTIONS + TRANSPOSED_CONVOLUTIONS):
        if layer.padding_mode != "zeros":
            return None
    elif not isinstance(layer, nn.Linear):
        return None
    (rows,) = output_gradients(losses, trace, torch.ones_like(losses))
    channels = _channel_dimension(layer)
    positions = list(rows.shape)
    del positions[channels]
    if list(losses.shape) not in (positions, list(rows.shape)):
        return None
    numbers = torch.arange(losses.numel(), device=losses.device).reshape(losses.shape)
    for scales in distinct_scales(numbers):
        (scaled,) = output_gradients(losses, trace, scales.to(losses))
        own = scales if losses.shape == rows.shape else scales.unsqueeze(channels)
        if not torch.equal(scaled, rows * own.to(rows)):
            return None
    return rows


def _channel_dimension(layer: nn.Module | None) -> int:
    return -1 if isinstance(layer, nn.Linear) else 1


def _squared_patches(inputs: Tensor, layer: Any) -> Tensor:
    """Squared norm of what each output number was computed from, in the output's shape or 1."""
    squares = inputs.square()
    if isinstance(layer, nn.Linear):
        return squares.sum(dim=-1, keepdim=True)
    dimensions, groups = len(layer.kernel_size), layer.groups
    channels, padding = squares.shape[1], layer.padding
    if type(layer) in TRANSPOSED_CONVOLUTIONS:
        spread = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[dimensions - 1]
        window = squares.new_ones((channels, 1, *layer.kernel_size))
        sums: Tensor = spread(
            squares,
            window,
            None,
            layer.stride,
            padding,
            layer.output_padding,
            groups,
            layer.dilation,
        )
    else:
        convolve = (F.conv1d, F.conv2d, F.conv3d)[dimensions - 1]
        window = squares.new_ones((groups, channels // groups, *layer.kernel_size))
        sums = convolve(squares, window, None, layer.stride, padding, layer.dilation, groups)
    return sums.repeat_interleave(layer.out_channels // groups, dim=1)
