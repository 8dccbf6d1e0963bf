"""∂L/∂z, z the output of the traced layer."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from reweight._isolation.wrappers import is_dtensor
from reweight._last_layer.cut import Place
from reweight._last_layer.trace import LayerTrace
from reweight._torch_internals import has_hooks, parameter_slots

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
    if any(map(is_dtensor, trace.parameters.values())):
        return False
    # A hook may compute the weight (weight_norm), change the output or change a gradient.
    if has_hooks(layer) or "weight" not in parameter_slots(layer):
        return False
    return all(
        call.edge is not None
        and len(call.args) == 1
        and isinstance(call.args[0], Tensor)
        and not call.kwargs
        for call in trace.calls
    )


def why_not_read(trace: LayerTrace) -> str:
    """Return, where :func:`reads_rows` is false, what to tell the user."""
    if trace.unseen:
        return trace.unseen
    if trace.layer is not None and has_hooks(trace.layer):
        return "its hooks may change what it computes"
    if not trace.complete:
        return "it ran more than once, with other layers in between"
    return "how this kind of layer treats each sample is not known"


def output_gradients(losses: Tensor, trace: LayerTrace, cotangent: Tensor) -> list[Tensor]:
    """Return ∂(Σ cotangent · losses)/∂z for every call of the layer. The graph is kept."""
    # As a scalar: to give grad() a cotangent loads PyTorch's symbolic shapes, a second and 40 MiB.
    return _gradients((cotangent * losses).sum(), trace)[0]


def gradients_there_too(
    losses: Tensor, trace: LayerTrace, place: Place | None
) -> tuple[list[Tensor], Tensor | None]:
    """Return ∂ΣL/∂z for every call of the layer, and the same at ``place``, of one backward pass.

    Args:
        losses: ``(C,)``, with their graph, which is kept.
        trace: The layer's calls.
        place: Another place on the way; ``None`` asks for no more.
    """
    return _gradients(losses.sum(), trace, place)


def _gradients(
    total: Tensor, trace: LayerTrace, place: Place | None = None
) -> tuple[list[Tensor], Tensor | None]:
    edges = [call.edge for call in trace.calls if call.edge is not None]
    shapes = [call.shape for call in trace.calls if call.shape is not None]
    # Asked for twice, a gradient would be copied.
    if place is not None and place.edge not in edges:
        edges.append(place.edge)
    found = torch.autograd.grad(total, edges, retain_graph=True, allow_unused=True)
    there = None if place is None else found[edges.index(place.edge)]
    like = next(iter(trace.parameters.values()), total)  # losses may be wider than the layer
    own = [
        torch.zeros(shape, dtype=like.dtype, device=total.device) if gradient is None else gradient
        for shape, gradient in zip(shapes, found[: len(shapes)], strict=True)
    ]
    return own, there
