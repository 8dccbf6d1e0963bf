"""Σ w_i L_i as a scalar whose backward pass is that of each layer by its own parameters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from reweight._derivative.first_derivative import without_a_second
from reweight._derivative.layer_products.parts import Part
from reweight._derivative.layer_products.weights import Key, Weights

_NO_SECOND = (
    'with method="layer_products" a step\'s loss has a first derivative and no second one. Use '
    'GradientSimilarity(method="forward") where a gradient penalty or a Hessian is wanted.'
)


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """How weighted gradients are computed, without the tensors that they are computed from.

    Attributes:
        parts: One for each use of weights.
        keys: For each, where its weights stand in the graph.
        weights: From these to parameters.
    """

    parts: Sequence[Part]
    keys: Sequence[dict[int, Key]]
    weights: Weights

    def gradients(self, kept: Sequence[Sequence[Tensor]], weights: Tensor) -> dict[int, Tensor]:
        """Return ``Σ_i w_i ∇L_i`` by the ``id`` of the parameter.

        Args:
            kept: What each part works with.
            weights: ``(C,)``.
        """
        found: list[tuple[Key, Tensor]] = []
        for part, tensors, keys in zip(self.parts, kept, self.keys, strict=True):
            by_place = part.weighted(tensors, weights)
            found += [(keys[k], gradient) for k, gradient in by_place.items()]
        return self.weights.pulled_back(found)


class _WeightedLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        value: Tensor,
        weights: Tensor,
        plan: Plan,
        kept: Sequence[Sequence[Tensor]],
        *parameters: Tensor,
    ) -> Tensor:
        # What is saved this way is freed by backward, as every other part of a graph.
        ctx.save_for_backward(weights, *(x for tensors in kept for x in tensors))
        ctx.plan, ctx.parameters = plan, parameters
        ctx.lengths = [len(tensors) for tensors in kept]
        return value.clone()

    @staticmethod
    def backward(ctx: Any, scale: Tensor) -> tuple[Tensor | None, ...]:
        weights, *flat = ctx.saved_tensors
        rest = iter(flat)
        kept = [[next(rest) for _ in range(length)] for length in ctx.lengths]
        with torch.no_grad():
            found = ctx.plan.gradients(kept, weights * scale.to(weights.device))
        gradients = [found.get(id(p)) for p in ctx.parameters]
        known = without_a_second(gradients, ctx.parameters, _NO_SECOND)
        return (None, None, None, None, *known)


def weighted_loss(
    value: Tensor,
    weights: Tensor,
    plan: Plan,
    kept: Sequence[Sequence[Tensor]],
    parameters: Sequence[Tensor],
) -> Tensor:
    """Return ``value`` as a scalar that back-propagates ``Σ_i w_i ∇L_i`` to ``parameters``.

    Args:
        value: The scalar's value.
        weights: ``(C,)``.
        plan: How the gradient is computed.
        kept: From what. Freed by a backward pass, unless ``retain_graph=True``.
        parameters: Those that the losses depend on.
    """
    loss: Tensor = _WeightedLoss.apply(value.detach(), weights, plan, list(kept), *parameters)  # type: ignore[no-untyped-call]
    return loss
