"""∂L/∂z, z the output of the traced layer, and which losses depend on which part of it."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from reweight._last_layer.trace import LayerTrace
from reweight._torch_internals import backward_hooks, forward_hooks, parameter_slots

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED_CONVOLUTIONS = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
# Layers that treat the rows of their input one by one and compute nothing at random.
_ROW_BY_ROW = (
    nn.Linear,
    *CONVOLUTIONS,
    *TRANSPOSED_CONVOLUTIONS,
    nn.GroupNorm,
    nn.LayerNorm,
    nn.PReLU,
)


def reads_rows(trace: LayerTrace) -> bool:
    """Whether the traced layer is known to treat the rows of one input tensor one by one."""
    layer = trace.layer
    if layer is None or type(layer) not in _ROW_BY_ROW or not trace.complete:
        return False
    # A hook may compute the weight (weight_norm), change the output or change a gradient.
    if forward_hooks(layer) or backward_hooks(layer) or "weight" not in parameter_slots(layer):
        return False
    return all(
        call.edge is not None
        and len(call.args) == 1
        and isinstance(call.args[0], Tensor)
        and not call.kwargs
        for call in trace.calls
    )


def output_gradients(losses: Tensor, trace: LayerTrace, cotangent: Tensor) -> list[Tensor]:
    """Return ∂(Σ cotangent · losses)/∂z for every call of the layer. The graph is kept."""
    edges = [call.edge for call in trace.calls if call.edge is not None]
    shapes = [call.shape for call in trace.calls if call.shape is not None]
    # As a scalar: to give grad() a cotangent loads PyTorch's symbolic shapes, a second and 40 MiB.
    total = (cotangent * losses).sum()
    found = torch.autograd.grad(total, edges, retain_graph=True, allow_unused=True)
    return [
        losses.new_zeros(shape) if gradient is None else gradient
        for shape, gradient in zip(shapes, found, strict=True)
    ]


def distinct_scales(positions: Tensor) -> Iterator[Tensor]:
    """Yield powers of two such that any two positions differ in one of the tensors yielded.

    To scale a cotangent by a power of two scales what comes out of a backward pass bit for bit.
    So where the losses are scaled by these, and the gradient of each part of the output by just
    its own loss's scale, no loss reaches another's part: whoever contributes brings its own.

    Args:
        positions: The integers 0 … N − 1 in any shape.
    """
    # Three binary digits at a time: larger powers could leave the range of half precision.
    for shift in range(0, (positions.numel() - 1).bit_length(), 3):
        yield 2.0 ** ((positions >> shift) & 7)
