"""‖∂L_i/∂θ_out‖ for every sample."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from reweight._dtypes import at_least_float32, largest_or_one
from reweight._isolation.wrappers import whole
from reweight._last_layer.output_gradients import (
    distinct_scales,
    output_gradients,
    reads_rows,
)
from reweight._last_layer.parameter_gradients import (
    per_sample_gradients,
    whole_batch_gradients,
)
from reweight._last_layer.trace import LayerTrace

# Per-sample gradients are held for as many samples at a time as fit in this many elements.
_MOST_ELEMENTS = 2**26


def sample_norms(losses: Tensor, trace: LayerTrace) -> Tensor:
    """Return ‖∂L_i/∂θ_out‖₂ for every sample.

    Where each sample's loss depends on that sample's rows of the layer's output alone, the cost
    is linear in C. That is found out in every batch; where something couples the samples
    (BatchNorm after the layer, a contrastive loss, a reshaped output), C backward passes from the
    losses to the layer are made instead, which is exact too.

    Args:
        losses: ``(C,)`` with their graph, which is kept.
        trace: The layer's calls in that graph.

    Returns:
        ``(C,)``, detached.
    """
    rows = _independent_rows(losses, trace)
    if rows is None:
        return _one_by_one(losses, trace)
    inputs = [call.args[0].detach() for call in trace.calls]
    if type(trace.layer) is nn.Linear and len(rows) == 1:
        cheap = _norms_from_products(inputs[0], rows[0], trace)
        if cheap is not None:
            return cheap
    step = max(1, _MOST_ELEMENTS // sum(p.numel() for p in trace.parameters.values()))
    norms = []
    for start in range(0, len(losses), step):
        part = slice(start, start + step)
        calls = [
            per_sample_gradients(trace, given[part], row[part])
            for given, row in zip(inputs, rows, strict=True)
        ]
        norms.append(_norms(_sum_over_calls(calls)))
    return torch.cat(norms)


def _independent_rows(losses: Tensor, trace: LayerTrace) -> list[Tensor] | None:
    """Return ∂L_i/∂z_i for every call of the layer, or ``None`` if some ∂L_i/∂z_j is not zero."""
    count = len(losses)
    if not reads_rows(trace) or any(
        call.shape is None or call.shape[:1] != (count,) or call.args[0].shape[:1] != (count,)
        for call in trace.calls
    ):
        return None
    rows = output_gradients(losses, trace, torch.ones_like(losses))
    for scales in distinct_scales(torch.arange(count, device=losses.device)):
        scaled = output_gradients(losses, trace, scales.to(losses))
        for row, other in zip(rows, scaled, strict=True):
            if not torch.equal(other, row * scales.to(row).reshape(-1, *[1] * (row.dim() - 1))):
                return None
    return rows


def _norms_from_products(inputs: Tensor, rows: Tensor, trace: LayerTrace) -> Tensor | None:
    """Norms for a linear layer from ‖Zᵀ A‖² = Σ_ts ⟨z_t, z_s⟩⟨a_t, a_s⟩, where that is cheaper."""
    count = len(inputs)
    a = at_least_float32(inputs).reshape(count, -1, inputs.shape[-1])
    z = at_least_float32(rows).reshape(count, -1, rows.shape[-1])
    if a.shape[1] * (a.shape[2] + z.shape[2]) > a.shape[2] * z.shape[2]:
        return None
    scale = largest_or_one(z)  # squares of tiny gradients must not underflow
    z = z / scale
    products = torch.zeros_like(z[:, :1, :1])
    if "weight" in trace.parameters:
        products = products + a @ a.mT
    if "bias" in trace.parameters:
        products = products + 1
    return ((z @ z.mT) * products).sum(dim=(1, 2)).clamp(min=0).sqrt() * scale


def _one_by_one(losses: Tensor, trace: LayerTrace) -> Tensor:
    norms = []
    for one in torch.eye(len(losses), dtype=losses.dtype, device=losses.device):
        if reads_rows(trace):
            calls = [
                whole_batch_gradients(trace, call.args[0].detach(), gradient)
                for call, gradient in zip(
                    trace.calls, output_gradients(losses, trace, one), strict=True
                )
            ]
            gradients = _sum_over_calls(calls)
        else:
            leaves = list(trace.parameters.values())
            loss = (one * losses).sum()
            found = torch.autograd.grad(loss, leaves, retain_graph=True, allow_unused=True)
            gradients = [whole(g) for g in found if g is not None] or [one.new_zeros(1)]
        norms.append(_norms([gradient[None] for gradient in gradients]))
    return torch.cat(norms)


def _sum_over_calls(calls: list[list[Tensor]]) -> list[Tensor]:
    return [torch.stack(same).sum(dim=0) for same in zip(*calls, strict=True)]


def _norms(gradients: list[Tensor]) -> Tensor:
    """Return each sample's Euclidean norm, ``(C,)``, over its gradients, ``(C, *shape)`` each."""
    flat = torch.cat([at_least_float32(g).reshape(len(g), -1) for g in gradients], dim=1)
    scale = largest_or_one(flat)
    norms: Tensor = torch.linalg.vector_norm(flat / scale, dim=1)
    return norms * scale
