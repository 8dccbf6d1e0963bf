"""⟨∇L_i(θ), v⟩ by one backward pass a loss: the slow way that goes wherever training goes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from reweight._derivative.dense import dense
from reweight._isolation.losses import Losses
from reweight._isolation.objective import Objective, Parameters
from reweight._isolation.start import Start
from reweight._isolation.wrappers import whole


def per_sample(
    objective: Objective,
    batch: Any,
    direction: Parameters,
    start: Start,
    note: Callable[[Tensor], None] = lambda _: None,
) -> Tensor:
    """Return ⟨∇L_i(θ), v⟩, detached, by C first-order backward passes.

    Args:
        objective: The losses as a function of the parameters.
        batch: The noisy batch.
        direction: v by parameter name.
        start: What the pass starts from.
        note: Is given the losses of the pass.
    """

    def differentiate(found: Losses, leaves: Parameters) -> Tensor:
        note(found.values)
        losses = found.values.flatten()
        derivative = torch.zeros_like(losses).detach()
        if not losses.requires_grad:
            return derivative.reshape(found.values.shape)
        last = len(losses) - 1
        for i, loss in enumerate(losses):
            gradients = torch.autograd.grad(
                loss, list(leaves.values()), retain_graph=i < last, allow_unused=True
            )
            derivative[i] = inner_product(
                objective, dict(zip(leaves, gradients, strict=True)), direction, start, losses
            )
        return derivative.reshape(found.values.shape)

    return objective.evaluate(
        lambda: objective.leaves(direction, start), batch, differentiate, start, first_order=True
    )


def inner_product(
    objective: Objective,
    gradients: Mapping[str, Tensor | None],
    direction: Parameters,
    start: Start,
    like: Tensor,
) -> Tensor:
    """Return ⟨g, v⟩, a scalar, where hooks of the parameters have had their say on g."""
    total = like.new_zeros((), dtype=torch.promote_types(like.dtype, torch.float32))
    for name, gradient in gradients.items():
        if gradient is None:
            continue
        hooked = dense(objective.hooks.applied(start.trainable[name], gradient).detach())
        total = total + whole((hooked.conj() * direction[name]).real.sum()).to(total)
    return total
