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

from reweight.objective import Objective, Parameters

Method = Literal["forward", "double_backward", "finite_difference"]


def directional_derivative(
    objective: Objective,
    batch: Any,
    direction: Parameters,
    method: Method = "forward",
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
        baseline: Where the losses at θ may be had without a further pass (finite differences).

    Returns:
        Derivatives in the shape of the losses, ``(C,)`` or the loss map, detached.

    Raises:
        ValueError: If ``method`` is not one of the three.
    """
    if method == "forward":
        return forward_mode(objective, batch, direction)[0]
    if method == "double_backward":
        return _double_backward(objective, batch, direction)
    if method == "finite_difference":
        return _finite_difference(objective, batch, direction, baseline)
    raise ValueError(f"method must be one of {get_args(Method)}, got {method!r}.")


def forward_mode(
    objective: Objective, batch: Any, direction: Parameters, recorded: Parameters | None = None
) -> tuple[Tensor, Tensor]:
    """Return ⟨∇L_i(θ), v⟩ by forward-mode AD, and the losses that the same pass computed.

    Args:
        objective: The losses as a function of the parameters.
        batch: The noisy batch.
        direction: v by parameter name.
        recorded: Parameters, by name, with respect to which the losses returned can be
            differentiated: detached leaves at their present values. What comes before them is not
            recorded, so that without them this pass holds no activations.

    Returns:
        Derivatives, detached, and losses, both ``(C,)`` or the loss map.
    """
    parameters = {**objective.trainable(), **(recorded or {})}
    with forward_ad.dual_level():
        duals = dict(recorded or {})
        for name, tangent in direction.items():
            value = parameters[name] if name in duals else parameters[name].detach()
            duals[name] = forward_ad.make_dual(value, tangent)  # type: ignore[no-untyped-call]
        losses = objective.losses(duals, batch)
        primal, tangent = forward_ad.unpack_dual(losses)  # type: ignore[no-untyped-call]
        # The level must be left before anyone calls backward: within it, backward would carry
        # tangents along and cost three times as much.
        derivative = torch.zeros_like(primal) if tangent is None else tangent.clone()
    return derivative.detach(), primal


def _double_backward(objective: Objective, batch: Any, direction: Parameters) -> Tensor:
    parameters = objective.trainable()
    leaves = {name: parameters[name].detach().requires_grad_() for name in direction}
    losses = objective.losses(leaves, batch)
    if not losses.requires_grad:
        return torch.zeros_like(losses)
    # u ↦ Σ u_i ∇L_i is linear: its product with v, differentiated by u, is the answer.
    cotangent = torch.zeros_like(losses, requires_grad=True)
    combined = torch.autograd.grad(
        losses, list(leaves.values()), cotangent, create_graph=True, allow_unused=True
    )
    terms = [
        (gradient * tangent).sum()
        for gradient, tangent in zip(combined, direction.values(), strict=True)
        if gradient is not None and gradient.requires_grad
    ]
    if not terms:
        return torch.zeros_like(losses)
    (derivative,) = torch.autograd.grad(torch.stack(terms).sum(), cotangent)
    return derivative


def _finite_difference(
    objective: Objective,
    batch: Any,
    direction: Parameters,
    baseline: Callable[[], Tensor] | None,
) -> Tensor:
    parameters = {name: p.detach() for name, p in objective.trainable().items()}
    start = {name: parameters[name] for name in direction}
    length = _norm(direction)
    if length == 0:
        return torch.zeros_like(objective.losses({}, batch, fused_attention=True))
    # The step that balances truncation against rounding, in units of ‖θ‖ / ‖v‖.
    precision = max(torch.finfo(tensor.dtype).eps for tensor in start.values())
    epsilon = math.sqrt(precision) * max(_norm(start), 1e-3) / length
    moved = {name: value + epsilon * direction[name] for name, value in start.items()}
    ahead = objective.losses(moved, batch, fused_attention=True)
    here = objective.losses({}, batch, fused_attention=True) if baseline is None else baseline()
    return (ahead - here).detach() / epsilon


def _norm(tensors: Parameters) -> float:
    """Euclidean norm over all tensors, scaled so that no square over- or underflows."""
    largest = max((float(t.abs().max()) for t in tensors.values() if t.numel()), default=0.0)
    if largest == 0 or not math.isfinite(largest):
        return largest
    squares = [
        (t.to(torch.float32) if t.dtype.itemsize < 4 else t) / largest for t in tensors.values()
    ]
    return largest * math.sqrt(sum(float(t.square().sum()) for t in squares))
