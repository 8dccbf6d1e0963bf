"""‖∂L_e/∂θ_out‖ for every element e of a loss map."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reweight.layer_gradients.output_gradients import (
    CONVOLUTIONS,
    TRANSPOSED_CONVOLUTIONS,
    complementary_masks,
    output_gradients,
    reads_rows,
)
from reweight.layer_trace import LayerTrace
from reweight.normalize import at_least_float32


def elements_are_independent(losses: Tensor, trace: LayerTrace) -> bool:
    """Whether each element's loss depends on the layer's output at that element alone.

    An element is one number of the output (a squared error, say), or all channels at one position
    (a cross-entropy). The test is exact, as for samples. False for every layer but ``nn.Linear``
    and convolutions, transposed ones included, that pad with zeros.

    Args:
        losses: ``(C, *S)`` with their graph, which is kept.
        trace: The layer's calls in that graph.
    """
    layer = trace.layer
    if not reads_rows(trace) or len(trace.calls) != 1:
        return False
    if isinstance(layer, CONVOLUTIONS + TRANSPOSED_CONVOLUTIONS):
        if layer.padding_mode != "zeros":
            return False
    elif not isinstance(layer, nn.Linear):
        return False
    output = trace.calls[0].shape
    assert output is not None
    positions = list(output)
    channels = _channel_dimension(layer)
    del positions[channels]
    if list(losses.shape) not in (positions, list(output)):
        return False
    numbers = torch.arange(losses.numel(), device=losses.device).reshape(losses.shape)
    for mask in complementary_masks(numbers):
        (rows,) = output_gradients(losses, trace, mask.to(losses.dtype))
        touched = rows != 0
        if losses.shape != output:
            touched = touched.any(dim=channels)
        if touched[~mask].any():
            return False
    return True


def element_norms(losses: Tensor, trace: LayerTrace) -> Tensor:
    """Return ‖∂L_e/∂θ_out‖₂ for every element e of a loss map.

    Where :func:`elements_are_independent`, its square is ``Σ_k (∂L_e/∂z_ek)² (‖a_ek‖² + 1)``, k
    the channels of the element, a_ek the part of the layer's input that z_ek was computed from (a
    patch, for a convolution), and the 1 there for a bias.

    Args:
        losses: ``(C, *S)`` with their graph, which is kept.
        trace: The layer's calls in that graph.

    Returns:
        ``(C, *S)``, detached.
    """
    layer, call = trace.layer, trace.calls[0]
    (rows,) = output_gradients(losses, trace, torch.ones_like(losses))
    rows = at_least_float32(rows)
    sizes = torch.zeros_like(rows)
    if "weight" in trace.parameters:
        sizes = sizes + _squared_patches(at_least_float32(call.args[0].detach()), layer)
    if "bias" in trace.parameters:
        sizes = sizes + 1
    largest = rows.abs().max()  # squares of tiny gradients must not underflow
    scale = torch.where(largest > 0, largest, torch.ones_like(largest))
    squares = (rows / scale).square() * sizes
    if losses.shape != rows.shape:
        squares = squares.sum(dim=_channel_dimension(layer))
    return squares.sqrt() * scale


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
