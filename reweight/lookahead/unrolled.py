"""Algorithm 1 as written: the oracle that every faster score is held against."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from reweight.errors import check_finite
from reweight.lookahead.protocol import Lookahead
from reweight.objective import Objective, Parameters


def unrolled_scores(
    objective: Objective,
    noisy: Any,
    trusted: Any,
    lookahead: Lookahead,
    names: list[str],
    inner_steps: int = 1,
) -> tuple[Tensor, Tensor]:
    """Return −∂L_v(θ̂(w))/∂w at w = 0 by differentiating through the virtual steps.

    Algorithm 1, lines 4–11 (Ren et al. 2018). The second-order graph of the whole step is held in
    memory.

    Args:
        objective: The losses as a function of the parameters.
        noisy: The noisy batch.
        trusted: The trusted batch.
        lookahead: The optimiser of the virtual steps.
        names: Parameters that the virtual steps move.
        inner_steps: K ≥ 1 virtual steps on the same batch under the same weights.

    Returns:
        The scores, in the shape of the losses, and the mean trusted loss at the look-ahead.

    Raises:
        NonFiniteError: If a loss is not finite.
    """
    parameters = {name: p for name, p in objective.trainable().items() if name in set(names)}
    state = lookahead.start(parameters)
    point: Parameters = {n: p.detach().requires_grad_() for n, p in parameters.items()}
    weights: Tensor | None = None
    for _ in range(inner_steps):
        losses = objective.losses(point, noisy)
        check_finite(losses, "loss", "noisy")
        if weights is None:
            weights = torch.zeros_like(losses, requires_grad=True)
        gradients = _gradients((weights * losses).sum(), point)
        with torch.enable_grad():
            point, state = lookahead.update(point, gradients, state)
    assert weights is not None
    trusted_losses = objective.losses(point, trusted)
    check_finite(trusted_losses, "loss", "trusted")
    trusted_loss = trusted_losses.mean()
    if not trusted_loss.requires_grad:
        return torch.zeros_like(weights), trusted_loss
    (gradient,) = torch.autograd.grad(trusted_loss, weights, allow_unused=True)
    return torch.zeros_like(weights) if gradient is None else -gradient, trusted_loss.detach()


def _gradients(loss: Tensor, point: Parameters) -> Parameters:
    found = torch.autograd.grad(loss, list(point.values()), create_graph=True, allow_unused=True)
    return {
        name: torch.zeros_like(value) if gradient is None else gradient
        for (name, value), gradient in zip(point.items(), found, strict=True)
    }
