"""C + 1 plain backward passes through the model's own parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from reweight._isolation.autocast import autocast_inside_off
from reweight._isolation.batches import fresh
from reweight._isolation.checkpoints import without_reentrant_checkpoints
from reweight._isolation.losses import Losses
from reweight._isolation.objective import Parameters
from reweight._isolation.scoring_pass import differentiable_attention
from reweight._isolation.start import Start


@dataclass(frozen=True, eq=False)
class PlainGradients:
    """What plain backward passes give.

    Attributes:
        rows: ∇L_i by parameter name, ``(N, *shape)`` each, N the number of losses.
        trusted: ∇L_v by parameter name; empty without a trusted batch.
        losses: The losses, detached.
    """

    rows: Parameters
    trusted: Parameters
    losses: Tensor

    def similarity(self, direction: Parameters) -> Tensor:
        """Return ⟨∇L_i, v⟩ in the losses' shape, in float64 on the CPU."""
        total = torch.zeros(self.losses.numel(), dtype=torch.float64, device="cpu")
        for name, v in direction.items():
            if name in self.rows:
                rows = _flat(self.rows[name])
                total += rows @ v.detach().flatten().double().cpu()
        return total.reshape(self.losses.shape)

    def norms(self, names: Iterable[str]) -> Tensor:
        """Return ‖∂L_i/∂θ‖ over the parameters of these names, likewise."""
        squares = torch.zeros(self.losses.numel(), dtype=torch.float64, device="cpu")
        for name in names:
            squares += _flat(self.rows[name]).square().sum(1)
        return squares.sqrt().reshape(self.losses.shape)


def _flat(rows: Tensor) -> Tensor:
    return rows.reshape(len(rows), -1).double().cpu()


def plain_gradients(
    losses_of: Callable[[nn.Module, Any], Losses],
    module: nn.Module,
    start: Start,
    noisy: Any,
    trusted: Any,
) -> PlainGradients:
    """Make C + 1 plain backward passes, and put everything back.

    Nothing is substituted and nothing is watched here: the model runs as in ordinary training, but
    for autocast, fused attention and reentrant checkpoints.

    Args:
        losses_of: ``(module, batch) -> losses``.
        module: The model without wrappers.
        start: Where every pass starts from.
        noisy: The noisy batch.
        trusted: The trusted batch, or ``None``.
    """
    own = start.trainable

    def gradients(value: Tensor, *, keep: bool) -> Parameters:
        found = torch.autograd.grad(value, list(own.values()), retain_graph=keep, allow_unused=True)
        return {
            name: (torch.zeros_like(p) if g is None else g.to_dense()).detach()
            for (name, p), g in zip(own.items(), found, strict=True)
        }

    start.before_training()
    # Backward passes too: one may run a part of the model again (activation checkpointing).
    with autocast_inside_off(), without_reentrant_checkpoints(), differentiable_attention():
        try:
            direction: Parameters = {}
            if trusted is not None:
                mean = losses_of(module, fresh(trusted)).mean()
                direction = gradients(mean, keep=False) if mean.requires_grad else {}
                start.restore()
            values = losses_of(module, fresh(noisy)).values
            each = [gradients(loss, keep=True) for loss in values.flatten()]
            rows = {name: torch.stack([g[name] for g in each]) for name in own}
            return PlainGradients(rows, direction, values.detach())
        finally:
            start.restore()
