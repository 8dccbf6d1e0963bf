"""‖∂L_e/∂θ_out‖ for every element e of a loss map."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reweight._dtypes import at_least_float32, largest_or_one, squared
from reweight._last_layer.element_owners import Owned, channel_dimension, owned_parts
from reweight._last_layer.findings import Findings
from reweight._last_layer.one_by_one import one_by_one
from reweight._last_layer.output_gradients import (
    CONVOLUTIONS,
    TRANSPOSED_CONVOLUTIONS,
    reads_rows,
    why_not_read,
)
from reweight._last_layer.parameter_hooks import hooked_parameters
from reweight._last_layer.trace import LayerTrace
from reweight._torch_internals import padding_of

# A backward pass an element is made for maps of so many elements.
_MOST_PASSES = 1024


def element_norms(
    losses: Tensor,
    trace: LayerTrace,
    findings: Findings | None = None,
    doubt: Callable[[Tensor], None] | None = None,
) -> Tensor | None:
    """Return ‖∂L_e/∂θ_out‖₂ for every element e of a loss map.

    Its square is ``Σ_k (∂L_e/∂z_ek)² (‖a_ek‖² + 1)``, k the channels of the element, a_ek the part
    of the layer's input that z_ek was computed from (a patch, for a convolution), and the 1 there
    for a bias. An element is one number of the layer's output (a squared error, say), or some or
    all channels at one position (a cross-entropy). Which element each position belongs to is
    found out: the map may be shifted, sliced, flattened or permuted.

    Args:
        losses: ``(C, *S)`` with their graph, which is kept.
        trace: The layer's calls in that graph.
        findings: What earlier steps found out.
        doubt: As for :func:`~reweight._last_layer.norms_per_sample.sample_norms`.

    Returns:
        ``(C, *S)``, detached; ``None`` where the formula does not hold and the map is too large
        for a backward pass an element: if an element's loss depends on the layer's output at
        several positions, or a position reaches several elements (found out in every step), or
        the layer is neither ``nn.Linear`` nor a convolution, transposed or not.
    """
    findings = findings or Findings()
    if not losses.requires_grad:  # nothing of the layer is in them
        return torch.zeros_like(losses)
    why = _why_no_formula(trace)
    if not why and hooked_parameters(trace, findings):
        why = "hooks of its parameters may change gradients"
    owned = None if why else owned_parts(losses, trace, findings, doubt)
    if owned is not None:
        return _norms_of_owned(losses, owned, trace)
    if losses.numel() > _MOST_PASSES:
        return None
    why = why or "a loss does not depend on what the layer returns at one position alone"
    return one_by_one(losses.reshape(-1), trace, why, findings).reshape(losses.shape)


def _why_no_formula(trace: LayerTrace) -> str:
    layer = trace.layer
    if not reads_rows(trace):
        return why_not_read(trace)
    if len(trace.calls) != 1:
        return "it ran more than once"
    known = isinstance(layer, (nn.Linear, *CONVOLUTIONS, *TRANSPOSED_CONVOLUTIONS))
    return "" if known else "it is neither nn.Linear nor a convolution"


def _norms_of_owned(losses: Tensor, owned: Owned, trace: LayerTrace) -> Tensor:
    layer, rows = trace.layer, at_least_float32(owned.rows)
    sizes = rows.real.new_zeros([1] * rows.dim())
    if "weight" in trace.parameters:
        inputs = trace.calls[0].args[0].detach()
        sizes = sizes + _squared_patches(at_least_float32(inputs), layer)
    if "bias" in trace.parameters:
        sizes = sizes + 1
    scale = largest_or_one(rows)  # squares of tiny gradients must not underflow
    squares = squared(rows / scale) * sizes
    if owned.by_position:
        squares = squares.sum(dim=channel_dimension(layer), keepdim=True)
    if owned.in_order:
        return squares.reshape(losses.shape).sqrt() * scale
    known = owned.owners >= 0
    sums = squares.new_zeros(math.prod(losses.shape))
    sums.index_add_(0, owned.owners[known], squares[known])
    return sums.reshape(losses.shape).sqrt() * scale


def _squared_patches(inputs: Tensor, layer: Any) -> Tensor:
    """Squared norm of what each output number was computed from, in the output's shape or 1."""
    squares = squared(inputs)
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
        if layer.padding_mode != "zeros":
            squares, padding = F.pad(squares, padding_of(layer), mode=layer.padding_mode), 0
        convolve = (F.conv1d, F.conv2d, F.conv3d)[dimensions - 1]
        window = squares.new_ones((groups, channels // groups, *layer.kernel_size))
        sums = convolve(squares, window, None, layer.stride, padding, layer.dilation, groups)
    return sums.repeat_interleave(layer.out_channels // groups, dim=1)
