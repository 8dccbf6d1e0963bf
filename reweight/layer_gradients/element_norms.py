"""‖∂L_e/∂θ_out‖ for every element e of a loss map."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reweight.layer_gradients.output_gradients import (
    CONVOLUTIONS,
    complementary_masks,
    output_gradients,
    reads_rows,
)
from reweight.layer_trace import LayerTrace
from reweight.normalize import at_least_float32


def elements_are_independent(losses: Tensor, trace: LayerTrace) -> bool:
    """Whether each element's loss depends on the layer's output at that element alone.

    Exact, as for samples. False for every layer but ``nn.Linear`` and an ungrouped, zero-padded
    convolution.

    Args:
        losses: ``(C, *S)`` with their graph, which is kept.
        trace: The layer's calls in that graph.
    """
    layer = trace.layer
    if not reads_rows(trace) or len(trace.calls) != 1:
        return False
    if isinstance(layer, CONVOLUTIONS):
        if layer.groups != 1 or layer.padding_mode != "zeros":
            return False
    elif not isinstance(layer, nn.Linear):
        return False
    channels = _channel_dimension(layer)
    shape = list(trace.calls[0].shape or ())
    del shape[channels]
    if shape != list(losses.shape):
        return False
    positions = torch.arange(losses.numel(), device=losses.device).reshape(losses.shape)
    for mask in complementary_masks(positions):
        (rows,) = output_gradients(losses, trace, mask.to(losses.dtype))
        if (rows != 0).any(dim=channels)[~mask].any():
            return False
    return True


def element_norms(losses: Tensor, trace: LayerTrace) -> Tensor:
    """Return ‖∂L_e/∂θ_out‖₂ for every element e of a loss map.

    Where :func:`elements_are_independent`, it is ``‖∂L_e/∂z_e‖ · sqrt(‖a_e‖² + 1)``, a_e the part
    of the layer's input that z_e was computed from (a patch, for a convolution) and the 1 there
    for a bias.

    Args:
        losses: ``(C, *S)`` with their graph, which is kept.
        trace: The layer's calls in that graph.

    Returns:
        ``(C, *S)``, detached.
    """
    layer, call = trace.layer, trace.calls[0]
    (rows,) = output_gradients(losses, trace, torch.ones_like(losses))
    sizes = losses.new_zeros(())
    if "weight" in trace.parameters:
        sizes = sizes + _squared_patches(at_least_float32(call.args[0].detach()), layer)
    if "bias" in trace.parameters:
        sizes = sizes + 1
    dim = _channel_dimension(layer)
    largest = rows.abs().max()
    scale = torch.where(largest > 0, largest, 1.0).to(losses.dtype)
    norms: Tensor = torch.linalg.vector_norm(at_least_float32(rows) / scale, dim=dim) * scale
    return norms * sizes.sqrt()


def _channel_dimension(layer: nn.Module | None) -> int:
    return -1 if isinstance(layer, nn.Linear) else 1


def _squared_patches(inputs: Tensor, layer: Any) -> Tensor:
    """Squared norm of what each output element was computed from."""
    squares = inputs.square()
    if isinstance(layer, nn.Linear):
        return squares.sum(dim=-1)
    convolve = (F.conv1d, F.conv2d, F.conv3d)[len(layer.kernel_size) - 1]
    window = squares.new_ones((1, squares.shape[1], *layer.kernel_size))
    sums: Tensor = convolve(squares, window, None, layer.stride, layer.padding, layer.dilation)
    return sums.squeeze(1)
