"""One backward pass a loss: the way that is exact for any layer, whatever couples the losses."""

from __future__ import annotations

import torch
from torch import Tensor

from reweight._dtypes import at_least_float32, largest_or_one
from reweight._isolation.wrappers import whole
from reweight._last_layer.findings import Findings
from reweight._last_layer.output_gradients import output_gradients, reads_rows
from reweight._last_layer.parameter_gradients import whole_batch_gradients
from reweight._last_layer.parameter_hooks import HonouredHooks, hooked_parameters
from reweight._last_layer.trace import LayerTrace

# So many backward passes are made without a word.
_MANY = 32


def one_by_one(losses: Tensor, trace: LayerTrace, why: str, findings: Findings) -> Tensor:
    """Return ‖∂L_e/∂θ_out‖₂ for every loss, by a backward pass each.

    Args:
        losses: ``(N,)`` with their graph, which is kept.
        trace: The layer's calls in that graph.
        why: Why there is no shorter way, for the warning that many passes are worth.
        findings: Whether that was said before.
    """
    if len(losses) > _MANY:
        findings.say_once(
            f"one by one: {why}",
            f"LastLayerGradient makes {len(losses)} backward passes in a step, one for each loss, "
            f"to score by {trace.name()}: {why}. The scores are exact; the time grows with the "
            f"batch. Name another layer with layer=, weigh smaller batches, or use "
            f"GradientSimilarity() alone, which needs none of them.",
        )
    hooks = HonouredHooks(hooked_parameters(trace, findings))
    norms = []
    with hooks.silenced():
        for number in range(len(losses)):
            one = torch.zeros_like(losses)
            one[number] = 1
            gradients = _gradients(losses, trace, one)
            changed = [hooks.applied(name, g) for name, g in gradients.items()]
            norms.append(norms_of([g[None] for g in changed] or [one.new_zeros(1, 1)]))
    hooks.note(findings)
    return torch.cat(norms)


def _gradients(losses: Tensor, trace: LayerTrace, cotangent: Tensor) -> dict[str, Tensor]:
    """Return ∂(Σ cotangent · losses)/∂θ_out by parameter name."""
    if reads_rows(trace):
        calls = [
            whole_batch_gradients(trace, call.args[0].detach(), gradient)
            for call, gradient in zip(
                trace.calls, output_gradients(losses, trace, cotangent), strict=True
            )
        ]
        return dict(zip(trace.parameters, sum_over_calls(calls), strict=True))
    leaves = list(trace.parameters.values())
    loss = (cotangent * losses).sum()
    found = torch.autograd.grad(loss, leaves, retain_graph=True, allow_unused=True)
    return {
        name: whole(g).to_dense()
        for name, g in zip(trace.parameters, found, strict=True)
        if g is not None
    }


def sum_over_calls(calls: list[list[Tensor]]) -> list[Tensor]:
    """Return each parameter's gradient, summed over the layer's calls."""
    return [torch.stack(same).sum(dim=0) for same in zip(*calls, strict=True)]


def norms_of(gradients: list[Tensor]) -> Tensor:
    """Return each sample's Euclidean norm, ``(C,)``, over its gradients, ``(C, *shape)`` each."""
    flat = torch.cat([at_least_float32(g).reshape(len(g), -1) for g in gradients], dim=1)
    scale = largest_or_one(flat)
    norms: Tensor = torch.linalg.vector_norm(flat / scale, dim=1)
    return norms * scale
