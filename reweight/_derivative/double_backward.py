"""⟨∇L_i(θ), v⟩ by differentiating a backward pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from reweight._isolation.graph_leaves import nodes_of
from reweight._isolation.losses import Losses
from reweight._isolation.objective import Objective, Parameters
from reweight._isolation.start import Start


def double_backward(
    objective: Objective,
    batch: Any,
    direction: Parameters,
    start: Start,
    note: Callable[[Tensor], None] = lambda _: None,
) -> Tensor:
    """Return ⟨∇L_i(θ), v⟩, detached, as the derivative by u of ⟨Σ u_i ∇L_i, v⟩, which is linear.

    What a backward pass computes without a graph (a kernel of its own, NumPy) is a constant in it,
    and drops out unseen (see :mod:`reweight._derivative.identity`), unless it is marked with
    ``once_differentiable``, as what is a constant by mistake.

    Args:
        objective: The losses as a function of the parameters.
        batch: The noisy batch.
        direction: v by parameter name.
        start: What the pass starts from.
        note: Is given the losses of the pass.

    Raises:
        RuntimeError: If a part of it is marked with ``once_differentiable``.
    """

    def differentiate(found: Losses, leaves: Parameters) -> Tensor:
        losses = found.values
        note(losses)
        if not losses.requires_grad:
            return torch.zeros_like(losses)
        cotangent = torch.zeros_like(losses, requires_grad=True)
        combined = torch.autograd.grad(
            (cotangent * losses).sum(), list(leaves.values()), create_graph=True, allow_unused=True
        )
        terms = []
        for name, gradient in zip(leaves, combined, strict=True):
            hooked = (
                None
                if gradient is None
                else objective.hooks.applied(start.trainable[name], gradient)
            )
            if hooked is not None and hooked.requires_grad:
                terms.append((hooked.conj() * direction[name]).real.sum())
        if not terms:
            return torch.zeros_like(losses)
        total = torch.stack(terms).sum()
        _refuse_constants(total)
        (derivative,) = torch.autograd.grad(
            total, cotangent, allow_unused=True, materialize_grads=True
        )
        return derivative

    return objective.evaluate(
        lambda: objective.leaves(direction, start), batch, differentiate, start
    )


def _refuse_constants(total: Tensor) -> None:
    """Raise what PyTorch would if it came upon the mark: no way to the cotangent leads past it."""
    if any(node.name() == "torch::autograd::Error" for node in nodes_of(total)):
        raise RuntimeError(
            "trying to differentiate twice a function that was marked with @once_differentiable\n"
            'Its backward pass keeps no graph. Use method="auto" or "per_sample".'
        )
