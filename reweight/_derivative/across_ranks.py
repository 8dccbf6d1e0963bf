"""⟨∇L_i(θ), v⟩ where the parameters are spread over several ranks (tensor parallelism)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from reweight._isolation.losses import Losses
from reweight._isolation.objective import Objective, Parameters
from reweight._isolation.start import Snapshot
from reweight._isolation.wrappers import whole


def per_sample_across_ranks(
    objective: Objective, batch: Any, direction: Parameters, start: Snapshot
) -> Tensor:
    """Return ⟨∇L_i(θ), v⟩, detached, by C first-order backward passes.

    PyTorch's ``DTensor`` has no forward mode, and its second derivatives lose what a rank got
    from another (``DTensor.from_local`` is differentiable once).
    """
    trainable = objective.trainable()
    leaves = {name: trainable[name].detach().requires_grad_() for name in direction}

    def differentiate(found: Losses) -> Tensor:
        losses = found.values.flatten()
        derivative = torch.zeros_like(losses).detach()
        if losses.requires_grad:
            for i, loss in enumerate(losses):
                gradients = torch.autograd.grad(
                    loss, list(leaves.values()), retain_graph=True, allow_unused=True
                )
                for gradient, v in zip(gradients, direction.values(), strict=True):
                    if gradient is not None:
                        derivative[i] += whole((gradient.conj() * v).real.sum())
        return derivative.reshape(found.values.shape)

    return objective.evaluate(leaves, batch, differentiate, start)
