"""⟨∇L_i(θ), v⟩ by PyTorch's forward-mode AD, in a pass of its own."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from reweight._derivative.compiled import CompiledModel
from reweight._derivative.custom_operators import CustomOperatorsRefused
from reweight._derivative.every_label import TakeOutput
from reweight._derivative.forward_rules import load_forward_rules
from reweight._isolation.losses import Losses
from reweight._isolation.objective import Objective, Parameters
from reweight._isolation.predictions import Supervised
from reweight._isolation.start import Start


def forward_mode(
    objective: Objective,
    batch: Any,
    direction: Parameters,
    start: Start,
    recorded: frozenset[str] = frozenset(),
    take_output: TakeOutput | None = None,
) -> tuple[Tensor, Losses]:
    """Return ⟨∇L_i(θ), v⟩ by forward-mode AD, and the losses that the same pass computed.

    Args:
        objective: The losses as a function of the parameters.
        batch: The noisy batch.
        direction: v by parameter name.
        start: What the pass starts from.
        recorded: Names of parameters with respect to which the losses returned can be
            differentiated. What comes before them is not recorded, so that without them this pass
            holds no activations.
        take_output: Where the tangent of the model's output is wanted too.

    Returns:
        Derivatives, detached, and losses, both ``(C,)`` or the loss map.
    """

    def duals() -> Parameters:
        values = objective.values({*direction, *recorded}, start)
        for name in recorded:
            values[name].requires_grad_()
        return {
            name: forward_ad.make_dual(value, direction[name]) if name in direction else value  # type: ignore[no-untyped-call]
            for name, value in values.items()
        }

    load_forward_rules()
    # The level is left before anyone calls backward: within it, backward would carry tangents
    # along and cost three times as much.
    with forward_ad.dual_level(), CustomOperatorsRefused():
        derivative, losses = objective.evaluate(
            duals,
            batch,
            partial(_unpacked, take=take_output),
            start,
            backward=bool(recorded),
            outlives=bool(recorded),
        )
    return derivative.detach(), losses


def compiled_forward_mode(
    compiled: CompiledModel,
    objective: Objective,
    batch: Any,
    direction: Parameters,
    start: Start,
    take_output: TakeOutput | None = None,
) -> tuple[Tensor, Losses]:
    """Return the same, the model by a compiled graph. What is around the model runs as ever.

    Args:
        compiled: The model's graphs.
        objective: The losses as a function of the parameters.
        batch: The noisy batch.
        direction: v by parameter name.
        start: What the pass starts from.
        take_output: Where the tangent of the model's output is wanted too.

    Raises:
        NotCompilableError: If it does not go.
    """
    compiled.refuse_unfit(direction)
    load_forward_rules()
    with CustomOperatorsRefused():
        derivative, losses = objective.evaluate(
            lambda: objective.values(direction, start),
            batch,
            partial(_unpacked, take=take_output),
            start,
            backward=False,
            standing_in=partial(compiled.along, direction),
        )
    return derivative.detach(), losses


def _unpacked(
    losses: Losses, _: Parameters, take: TakeOutput | None = None
) -> tuple[Tensor, Losses]:
    primal, tangent = forward_ad.unpack_dual(losses.values)  # type: ignore[no-untyped-call]
    tangent = torch.zeros_like(primal) if tangent is None else tangent.clone()
    return tangent, Losses(primal, losses.counted, _primal(losses.made_from, take))


def _primal(source: Supervised | None, take: TakeOutput | None) -> Supervised | None:
    """Return what the losses were computed from, without tangents, which ``take`` is given."""
    if source is None or not isinstance(source.output, Tensor):
        return None
    primal, tangent = forward_ad.unpack_dual(source.output)  # type: ignore[no-untyped-call]
    plain = replace(source, output=primal.detach())
    if take is not None:
        take(plain, torch.zeros_like(primal) if tangent is None else tangent.detach().clone())
    return plain
