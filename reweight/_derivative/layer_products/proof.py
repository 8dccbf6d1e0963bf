"""Scores and weighted gradients held against an ordinary backward pass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from reweight._derivative.dense import dense
from reweight._derivative.identity import shares, tolerance
from reweight._derivative.layer_products.layers import LayerProducts
from reweight._isolation.losses import Losses
from reweight._isolation.objective import Objective, Parameters
from reweight._isolation.start import Start


@dataclass(frozen=True, eq=False, slots=True)
class Proof:
    """∇ Σ r_i L_i by an ordinary backward pass, r fixed and unequal.

    Attributes:
        gradients: By parameter name.
        losses: The losses of that forward pass.
    """

    gradients: Parameters
    losses: Tensor

    def holds(
        self, products: LayerProducts, scores: Tensor, direction: Mapping[str, Tensor]
    ) -> bool:
        """Whether weighted gradients are these, and scores add up to their product with v.

        Args:
            products: What gives weighted gradients.
            scores: ⟨∇L_i, v⟩.
            direction: v by parameter name.
        """
        relative, rounding = tolerance(direction)
        found = products.gradients(shares(self.losses))
        missing = {n: torch.zeros_like(g) for n, g in self.gradients.items() if n not in found}
        if not found.keys() <= self.gradients.keys():
            return False
        apart, length = [], []
        for name, expected in self.gradients.items():
            own = dense({**missing, **found}[name]).to(expected)
            apart.append(torch.linalg.vector_norm(own - expected))
            length.append(torch.linalg.vector_norm(expected))
        distance, whole = (
            torch.linalg.vector_norm(torch.stack([x.double().cpu() for x in norms]))
            for norms in (apart, length)
        )
        parts = (shares(scores) * scores).double().cpu()
        product = torch.stack(
            [
                (g * direction[n]).sum().double().cpu()
                for n, g in self.gradients.items()
                if n in direction
            ]
        ).sum()
        reach = whole * torch.linalg.vector_norm(
            torch.stack([torch.linalg.vector_norm(v).double().cpu() for v in direction.values()])
        )
        if not (distance.isfinite() and parts.isfinite().all()):
            return True  # refused elsewhere, by the samples at fault
        limit = relative * (parts.abs().sum() + product.abs()) + rounding * reach
        return bool(distance <= relative * whole) and bool((parts.sum() - product).abs() <= limit)


def proof(objective: Objective, batch: Any, start: Start) -> Proof:
    """Return the other side, by a forward and a backward pass.

    Args:
        objective: The losses as a function of the parameters.
        batch: The noisy batch.
        start: What the pass starts from.

    Raises:
        UnknownParametersError: If the losses depend on parameters of which nothing is known.
    """

    def differentiate(losses: Losses, leaves: Parameters) -> Proof:
        values = losses.values
        total = (shares(values) * values).sum()
        if not total.requires_grad:
            return Proof({}, values.detach())
        objective.known_leaves.look(values, leaves.values(), start.trainable)
        found = torch.autograd.grad(total, list(leaves.values()), allow_unused=True)
        named = zip(leaves, found, strict=True)
        return Proof({n: dense(g) for n, g in named if g is not None}, values.detach())

    return objective.evaluate(
        lambda: objective.leaves(start.trainable, start),
        batch,
        differentiate,
        start,
        first_order=True,
    )
