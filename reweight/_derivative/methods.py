"""Directional derivatives ⟨∇L_i(θ), v⟩ of every loss at once, three ways.

The losses of a batch are one vector-valued function of the parameters, so that a single product
of its Jacobian with ``v`` gives what a loop would take C backward passes for. What couples the
samples of a batch (BatchNorm in train mode) is part of that function and is differentiated exactly.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal, get_args

import torch
from torch import Tensor
from torch.autograd import forward_ad

from reweight._derivative.custom_operators import CustomOperatorsRefused
from reweight._isolation.losses import Losses
from reweight._isolation.objective import Objective, Parameters
from reweight._isolation.start import Snapshot
from reweight._isolation.wrappers import whole

Method = Literal["forward", "double_backward", "finite_difference"]


def directional_derivative(
    objective: Objective,
    batch: Any,
    direction: Parameters,
    method: Method,
    start: Snapshot,
    *,
    baseline: Callable[[], Tensor] | None = None,
) -> Tensor:
    """Return ⟨∇L_i(θ), v⟩ for every loss of ``batch`` at the model's present parameters.

    Args:
        objective: The losses as a function of the parameters.
        batch: The noisy batch.
        direction: v, a tensor per parameter name; a parameter that is missing counts as zero.
        method: ``"forward"`` (forward-mode AD, exact, about three forward passes),
            ``"double_backward"`` (vector–Jacobian products, exact, for operators with no
            forward-mode rule), or ``"finite_difference"`` (approximate, one or two forward
            passes, any operator; it also sees what the model detaches).
        start: Buffers and random numbers to start from.
        baseline: Where the losses at θ may be had without a further pass (finite differences).

    Returns:
        Derivatives in the shape of the losses, ``(C,)`` or the loss map, detached.

    Raises:
        ValueError: If ``method`` is not one of the three.
    """
    if method == "forward":
        return forward_mode(objective, batch, direction, start)[0]
    if method == "double_backward":
        return _double_backward(objective, batch, direction, start)
    if method == "finite_difference":
        return _finite_difference(objective, batch, direction, start, baseline)
    raise ValueError(f"method must be one of {get_args(Method)}, got {method!r}.")


def forward_mode(
    objective: Objective,
    batch: Any,
    direction: Parameters,
    start: Snapshot,
    recorded: Parameters | None = None,
) -> tuple[Tensor, Losses]:
    """Return ⟨∇L_i(θ), v⟩ by forward-mode AD, and the losses that the same pass computed.

    Args:
        objective: The losses as a function of the parameters.
        batch: The noisy batch.
        direction: v by parameter name.
        start: Buffers and random numbers to start from.
        recorded: Parameters, by name, with respect to which the losses returned can be
            differentiated: detached leaves at their present values. What comes before them is not
            recorded, so that without them this pass holds no activations.

    Returns:
        Derivatives, detached, and losses, both ``(C,)`` or the loss map.
    """
    parameters = {**objective.trainable(), **(recorded or {})}

    def unpack(losses: Losses) -> tuple[Tensor, Losses]:
        primal, tangent = forward_ad.unpack_dual(losses.values)  # type: ignore[no-untyped-call]
        tangent = torch.zeros_like(primal) if tangent is None else tangent.clone()
        return tangent, Losses(primal, losses.counted)

    # The level is left before anyone calls backward: within it, backward would carry tangents
    # along and cost three times as much.
    with forward_ad.dual_level(), CustomOperatorsRefused():
        duals = dict(recorded or {})
        for name, tangent in direction.items():
            value = parameters[name] if name in duals else parameters[name].detach()
            duals[name] = forward_ad.make_dual(value, tangent)  # type: ignore[no-untyped-call]
        derivative, losses = objective.evaluate(duals, batch, unpack, start)
    return derivative.detach(), losses


def _double_backward(
    objective: Objective, batch: Any, direction: Parameters, start: Snapshot
) -> Tensor:
    parameters = objective.trainable()
    leaves = {name: parameters[name].detach().requires_grad_() for name in direction}

    def differentiate(found: Losses) -> Tensor:
        losses = found.values
        if not losses.requires_grad:
            return torch.zeros_like(losses)
        # u ↦ Σ u_i ∇L_i is linear: its product with v, differentiated by u, is the answer.
        cotangent = torch.zeros_like(losses, requires_grad=True)
        combined = torch.autograd.grad(
            (cotangent * losses).sum(), list(leaves.values()), create_graph=True, allow_unused=True
        )
        terms = [
            (gradient.conj() * tangent).real.sum()
            for gradient, tangent in zip(combined, direction.values(), strict=True)
            if gradient is not None and gradient.requires_grad
        ]
        if not terms:
            return torch.zeros_like(losses)
        (derivative,) = torch.autograd.grad(torch.stack(terms).sum(), cotangent)
        return derivative

    return objective.evaluate(leaves, batch, differentiate, start)


def _finite_difference(
    objective: Objective,
    batch: Any,
    direction: Parameters,
    start: Snapshot,
    baseline: Callable[[], Tensor] | None,
) -> Tensor:
    trainable = objective.trainable()
    origin = {name: trainable[name].detach() for name in direction}

    def losses_at(parameters: Parameters) -> Tensor:
        return objective.evaluate(
            parameters, batch, lambda losses: losses.values.detach(), start, fused_attention=True
        )

    length = _norm(direction)
    if length == 0:
        return torch.zeros_like(losses_at({}))
    # The step that balances truncation against rounding, in units of ‖θ‖ / ‖v‖.
    precision = max(torch.finfo(tensor.dtype).eps for tensor in origin.values())
    epsilon = math.sqrt(precision) * max(_norm(origin), 1e-3) / length
    ahead = losses_at(
        {name: torch.add(value, direction[name], alpha=epsilon) for name, value in origin.items()}
    )
    here = losses_at({}) if baseline is None else baseline()
    return (ahead - here) / epsilon


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
