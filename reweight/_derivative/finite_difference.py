"""⟨∇L_i(θ), v⟩ as a difference of losses: approximate, and for any operator at all."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor

from reweight._dtypes import at_least_float32, largest_or_one, widest
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
            attention=nullcontext,
        )

    def ahead() -> Parameters:
        return {name: _moved(value, direction[name], epsilon) for name, value in origin.items()}

    length = _norm(direction)
    # The step that balances truncation against rounding, in units of ‖θ‖ / ‖v‖.
    precision = max(torch.finfo(tensor.dtype).eps for tensor in origin.values())
    epsilon = math.sqrt(precision) * _norm(origin).clamp(min=1e-3).to(length.device) / length
    epsilon = torch.where(length == 0, torch.zeros_like(length), epsilon)
    there = losses_at(ahead)
    here = losses_at(dict) if baseline is None else baseline()
    difference = there - here
    step = epsilon.to(difference.device)
    return torch.where(step == 0, torch.zeros_like(difference), difference / step)


def _moved(value: Tensor, direction: Tensor, epsilon: Tensor) -> Tensor:
    """Return value + ε · direction, ε a scalar whose precision is not to be lost."""
    wide = at_least_float32(direction)
    moved = at_least_float32(value) + wide * epsilon.to(value.device)
    return moved.to(value.dtype)


def _norm(tensors: Parameters) -> Tensor:
    """Euclidean norm over all tensors, a scalar; no square over- or underflows."""
    parts = [_norm_of(whole(t)) for t in tensors.values() if t.numel()]
    if not parts:
        return torch.zeros((), dtype=torch.float32, device="cpu")
    return _norm_of(torch.stack([part.to(parts[0].device) for part in parts]))


def _norm_of(tensor: Tensor) -> Tensor:
    wide = widest(tensor.device)
    if tensor.dtype.to_real().itemsize < wide.itemsize:  # whose squares go into the wider one
        dtype = wide.to_complex() if tensor.is_complex() else wide
        norm: Tensor = torch.linalg.vector_norm(tensor, dtype=dtype)
        return norm
    largest = largest_or_one(tensor)
    relative: Tensor = torch.linalg.vector_norm(tensor / largest)
    return relative * largest
