"""⟨∇L_i(θ), v⟩ as a difference of losses: approximate, and for any operator at all."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from reweight._isolation.objective import Objective, Parameters
from reweight._isolation.start import Start
from reweight._isolation.wrappers import whole


def finite_difference(
    objective: Objective,
    batch: Any,
    direction: Parameters,
    start: Start,
    baseline: Callable[[], Tensor] | None,
) -> Tensor:
    """Return ``(L_i(θ + εv) − L_i(θ)) / ε``, detached.

    Args:
        objective: The losses as a function of the parameters.
        batch: The noisy batch.
        direction: v by parameter name.
        start: What the passes start from.
        baseline: Where the losses at θ may be had without a further pass.
    """
    origin = objective.values(direction, start)

    def losses_at(parameters: Callable[[], Parameters]) -> Tensor:
        return objective.evaluate(
            parameters,
            batch,
            lambda losses, _: losses.values.detach(),
            start,
            backward=False,
            fused_attention=True,
        )

    def ahead() -> Parameters:
        return {
            name: torch.add(value, direction[name], alpha=epsilon) for name, value in origin.items()
        }

    length = _norm(direction)
    if length == 0:
        return torch.zeros_like(losses_at(dict))
    # The step that balances truncation against rounding, in units of ‖θ‖ / ‖v‖.
    precision = max(torch.finfo(tensor.dtype).eps for tensor in origin.values())
    epsilon = math.sqrt(precision) * max(_norm(origin), 1e-3) / length
    there = losses_at(ahead)
    here = losses_at(dict) if baseline is None else baseline()
    return (there - here) / epsilon


def _norm(tensors: Parameters) -> float:
    """Euclidean norm over all tensors."""
    total = math.hypot(*(float(whole(torch.linalg.vector_norm(t))) for t in tensors.values()))
    # Where squares may have over- or underflowed, more slowly.
    return total if 1e-15 < total < math.inf else _scaled_norm(tensors)


def _scaled_norm(tensors: Parameters) -> float:
    """The same, scaled so that no square over- or underflows."""
    largest = max((float(t.abs().max()) for t in tensors.values() if t.numel()), default=0.0)
    if largest == 0 or not math.isfinite(largest):
        return largest
    total = 0.0
    for tensor in tensors.values():
        magnitudes = tensor.abs() / largest
        wide = torch.promote_types(magnitudes.dtype, torch.float32)
        total += float(magnitudes.to(wide).square().sum())
    return largest * math.sqrt(total)
