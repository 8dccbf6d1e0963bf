"""Scores and weighted gradients held against an ordinary backward pass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from reweight._derivative.dense import dense
from reweight._derivative.identity import (
    add_up,
    gradients_by_shares,
    parts_of,
    shares,
    tolerance,
)
from reweight._derivative.layer_products.layers import LayerProducts
from reweight._isolation.losses import Losses
from reweight._isolation.objective import Objective, Parameters
from reweight._isolation.scoring_pass import repeatable_attention
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
        tolerated = tolerance(direction, convolutions=products.convolutions)
        found = products.gradients(shares(self.losses))
        if not found.keys() <= self.gradients.keys():
            return False
        missing = {n: torch.zeros_like(g) for n, g in self.gradients.items() if n not in found}
        given = {**missing, **found}
        apart, length = [], []
        for name, expected in self.gradients.items():
            own = dense(given[name]).to(expected)
            apart.append(torch.linalg.vector_norm(own - expected))
            length.append(torch.linalg.vector_norm(expected))
        distance, whole = (
            torch.linalg.vector_norm(torch.stack([x.double().cpu() for x in norms]))
            for norms in (apart, length)
        )
        parts = parts_of(scores)
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
        # Unlike Identity.holds, which leaves a product that is no number to others.
        same = bool(distance <= tolerated[0] * whole)
        return same and add_up(parts, float(product), float(reach), tolerated)


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
        found = gradients_by_shares(objective, losses.values, leaves, start)
        return Proof({name: dense(g) for name, g in found.items()}, losses.values.detach())

    return objective.evaluate(
        lambda: objective.leaves(start.trainable, start),
        batch,
        differentiate,
        start,
        first_order=True,
        attention=repeatable_attention,
    )
