"""Whether directional derivatives add up: Σ r_i ⟨∇L_i, v⟩ = ⟨∇ Σ r_i L_i, v⟩.

The right side is one ordinary backward pass, which is what training is made of. A way to take the
left side that loses a part of the model (a backward pass without a graph, a hook that forward mode
does not run, code that drops tangents) does not add up.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from reweight._derivative.dense import dense
from reweight._derivative.per_sample import inner_product
from reweight._dtypes import narrowest
from reweight._isolation.losses import Losses
from reweight._isolation.objective import Objective, Parameters
from reweight._isolation.scoring_pass import Attention
from reweight._isolation.short_products import short_products
from reweight._isolation.start import Start
from reweight._isolation.wrappers import whole

# Of float64, float32, and half precision: how far the two sides may be apart, and how much of the
# two gradients' lengths may be lost to rounding. Deep networks in float32 are 4e-6 and 5e-7 apart.
_TOLERANCES = {8: (1e-6, 1e-12), 4: (1e-4, 1e-5), 2: (5e-2, 2e-2)}
_SHORT_PRODUCTS = (5e-2, 2e-3)


@dataclass(frozen=True)
class Identity:
    """The right side, ⟨∇ Σ r_i L_i, v⟩.

    Attributes:
        value: The product.
        reach: The product of the lengths of both gradients, of which rounding takes its share.
        relative: How far the two sides may be apart, relative to what they are made of.
        rounding: Which share of ``reach`` rounding may take.
        losses: The losses of that forward pass.
        in_short: Whether both are as wide as they are for short products alone.
    """

    value: float
    reach: float
    relative: float
    rounding: float
    losses: Tensor
    in_short: bool = False

    def holds(self, derivative: Tensor, *, strictly: bool = False) -> bool:
        """Whether ``derivative``, ⟨∇L_i, v⟩ as some way gave it, adds up to the right side.

        Args:
            derivative: What is to add up.
            strictly: Whether short products are to be no excuse.
        """
        parts = parts_of(derivative)
        if not (math.isfinite(float(parts.sum())) and math.isfinite(self.value)):
            return True  # refused elsewhere, by the samples at fault
        tolerated = self.relative, self.rounding
        if strictly and self.in_short:
            tolerated = _TOLERANCES[4]
        return add_up(parts, self.value, self.reach, tolerated)


def identity(
    objective: Objective,
    batch: Any,
    direction: Parameters,
    start: Start,
    attention: Attention | None = None,
) -> Identity:
    """Return the right side, by a forward and a backward pass, which run without autocast.

    Args:
        objective: The losses as a function of the parameters.
        batch: The noisy batch.
        direction: v by parameter name.
        start: What the pass starts from.
        attention: As the other side has it: see
            :func:`~reweight._isolation.scoring_pass.scoring_pass`.

    Raises:
        UnknownParametersError: If the losses depend on parameters of which nothing is known.
    """

    def differentiate(losses: Losses, leaves: Parameters) -> tuple[Tensor, float, Tensor]:
        values = losses.values
        gradients = gradients_by_shares(objective, values, leaves, start)
        length = _length([dense(g) for g in gradients.values()])
        product = inner_product(objective, gradients, direction, start, values)
        return product, length, values.detach()

    value, length, losses = objective.evaluate(
        lambda: objective.leaves(direction, start),
        batch,
        differentiate,
        start,
        first_order=True,
        attention=attention,
        full_precision=True,
    )
    relative, rounding = tolerance(direction)
    if start.precision is not None and start.precision.autocast:
        relative, rounding = _TOLERANCES[2]
    reach = length * _length(list(direction.values()))
    in_short = (relative, rounding) == _SHORT_PRODUCTS
    return Identity(float(value), reach, relative, rounding, losses, in_short)


def shares(losses: Tensor) -> Tensor:
    """Return r: no two alike among neighbours, so that a mix-up of samples shows."""
    numbers = torch.arange(losses.numel(), device=losses.device, dtype=losses.dtype)
    return (0.5 + (numbers * 0.6180339887).frac()).reshape(losses.shape)


def gradients_by_shares(
    objective: Objective, losses: Tensor, leaves: Parameters, start: Start
) -> Parameters:
    """Return ∇ Σ r_i L_i by parameter name, of those that the losses depend on.

    Args:
        objective: What the losses are of.
        losses: Theirs, with their graph, which is used up.
        leaves: The parameters in that graph.
        start: What the pass started from.

    Raises:
        UnknownParametersError: If the losses depend on parameters of which nothing is known.
    """
    total = (shares(losses) * losses).sum()
    if not total.requires_grad:
        return {}
    objective.known_leaves.look(losses, leaves.values(), start.trainable)
    found = torch.autograd.grad(total, list(leaves.values()), allow_unused=True)
    return {name: g for name, g in zip(leaves, found, strict=True) if g is not None}


def parts_of(derivative: Tensor) -> Tensor:
    """Return r_i ⟨∇L_i, v⟩, which the left side is the sum of, in double precision."""
    return (shares(derivative) * derivative).detach().double().cpu()


def add_up(parts: Tensor, value: float, reach: float, tolerated: tuple[float, float]) -> bool:
    """Whether the left side is the right one but for rounding; what is not a number is not.

    Args:
        parts: What the left side is the sum of.
        value: The right side.
        reach: The product of the lengths of both gradients.
        tolerated: As :func:`tolerance` gives it.
    """
    relative, rounding = tolerated
    apart = relative * (float(parts.abs().sum()) + abs(value))
    return abs(float(parts.sum()) - value) <= apart + rounding * reach


def tolerance(direction: Mapping[str, Tensor], *, convolutions: bool = True) -> tuple[float, float]:
    """Return how far two sides may be apart, and how much of the lengths rounding may take.

    Args:
        direction: v by parameter name.
        convolutions: Whether there may be any between parameters and losses.
    """
    itemsize = narrowest(direction.values())
    devices = {v.device.type for v in direction.values()}
    if itemsize == 4 and short_products(devices, convolutions=convolutions):
        return _SHORT_PRODUCTS
    return _TOLERANCES[itemsize]


def _length(tensors: list[Tensor]) -> float:
    return math.hypot(*(float(whole(torch.linalg.vector_norm(t))) for t in tensors))


def does_not_add_up(method: str) -> RuntimeError:
    """Return the error that refuses a method asked for by name."""
    return RuntimeError(
        f'method="{method}" loses a part of this model\'s derivatives: they do not add up to those '
        f"of an ordinary backward pass. Usual causes are a backward pass that keeps no graph (a "
        f"Triton or CUDA kernel, NumPy, once_differentiable) and hooks that change gradients. Use "
        f'method="auto" or "per_sample".'
    )
