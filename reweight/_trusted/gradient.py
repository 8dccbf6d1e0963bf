"""The trusted gradient ∇L_v, by one backward pass of the trusted batch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from reweight._derivative.compiled import TOLERANCES, CompiledModel
from reweight._derivative.dense import dense
from reweight._dtypes import narrowest
from reweight._isolation.losses import Losses
from reweight._isolation.objective import Objective, Parameters
from reweight._isolation.start import Start
from reweight.errors import BatchName, NotCompilableError, check_finite

Finite = Callable[[Tensor, str, BatchName], None]
_SCALES = (2.0**16, 2.0**8, 1.0)
"""Of a loss in float16, in which small gradients vanish and large ones overflow."""


@dataclass(frozen=True, eq=False, slots=True)
class TrustedGradient:
    """∇L_v by parameter name; parameters that L_v does not depend on are left out.

    Attributes:
        loss: L_v, a scalar, detached.
        plain: As the backward pass gives it, sparse where an embedding makes it so: what a term of
            the training loss passes on, for the parameters' own hooks to see it there.
        compared: What a sample's gradient is compared with: dense, and as the parameters' hooks
            have left it.
        number: Of how many losses L_v is the mean.
    """

    loss: Tensor
    plain: Parameters
    compared: Parameters
    number: Tensor | int


def trusted_gradient(
    objective: Objective,
    batch: Any,
    names: list[str],
    start: Start,
    at: Parameters | None = None,
    *,
    look: bool = False,
    finite: Finite = check_finite,
    compiled: CompiledModel | None = None,
) -> TrustedGradient:
    """Return ∇L_v, L_v the mean of the trusted losses that count.

    Args:
        objective: The losses as a function of the parameters.
        batch: The trusted batch.
        names: The parameters wanted. The backward pass stops at the earliest of them.
        start: What the pass starts from.
        at: Where to take the gradient, if not at θ: values by parameter name.
        look: Whether to look for parameters that nobody knows of.
        finite: Raises, now or later, if the losses are not.
        compiled: The model's graphs, if the pass is to be compiled. When there is something to
            look for, it is compared with one that is not.

    Raises:
        NotCompilableError: If the pass is to be compiled and does not go, or is another.
        NonFiniteError: If a trusted loss is not finite.
        UnknownParametersError: If the losses depend on parameters of which nothing is known.
    """

    def leaves() -> Parameters:
        elsewhere = at or {}
        found = objective.leaves([name for name in names if name not in elsewhere], start)
        moved = {n: elsewhere[n].detach().clone().requires_grad_() for n in names if n in elsewhere}
        return {name: {**found, **moved}[name] for name in names}

    def differentiate(losses: Losses, given: Parameters) -> TrustedGradient:
        finite(losses.values, "loss", "trusted")
        mean = losses.mean()
        if not mean.requires_grad:
            return TrustedGradient(mean.detach(), {}, {}, losses.number)
        if look:
            objective.known_leaves.look(losses.values, given.values(), start.trainable)
        narrow = start.precision is not None and start.precision.narrow
        found = _gradients(mean, list(given.values()), _SCALES if narrow else (1.0,))
        plain = {name: g for name, g in zip(given, found, strict=True) if g is not None}
        # A sparse gradient has no forward-mode rules.
        compared = {
            name: dense(objective.hooks.applied(start.trainable[name], gradient))
            for name, gradient in plain.items()
        }
        return TrustedGradient(mean.detach(), plain, compared, losses.number)

    plain: TrustedGradient | None = None
    if compiled is None or look:
        plain = objective.evaluate(
            leaves,
            batch,
            differentiate,
            start,
            first_order=True,
            attention=nullcontext,  # else it would hold every weight of every token
        )
        if compiled is None:
            return plain
    compiled.refuse_unfit(dict.fromkeys(names))
    look = False  # the graph of compiled code leads to the leaves it was given
    found = objective.evaluate(
        leaves, batch, differentiate, start, first_order=True, standing_in=compiled.forwards
    )
    if plain is not None and not _alike(found, plain):
        raise NotCompilableError(
            "the trusted gradient by compiled code is another than by eager code: random numbers "
            "(dropout inside attention, say) may be drawn in another order"
        )
    return found


def _gradients(mean: Tensor, leaves: list[Tensor], scales: Sequence[float]) -> list[Tensor | None]:
    """Return the gradient, taken of the loss times the first scale at which nothing overflows.

    Args:
        mean: The loss.
        leaves: What it is differentiated by.
        scales: Powers of two, the largest first.
    """
    for scale in scales:
        last = scale == scales[-1]
        found = torch.autograd.grad(mean * scale, leaves, allow_unused=True, retain_graph=not last)
        if last or _finite(found):
            break
    return list(found) if scale == 1 else [None if g is None else g / scale for g in found]


def _finite(gradients: Iterable[Tensor | None]) -> bool:
    sums = [g.sum() for g in gradients if g is not None]
    return all(bool(each.isfinite()) for each in sums)


def _alike(found: TrustedGradient, expected: TrustedGradient) -> bool:
    """Whether two gradients are the same but for rounding."""
    names = found.compared.keys() | expected.compared.keys()
    apart, length = 0.0, 0.0
    for name in names:
        one, other = found.compared.get(name), expected.compared.get(name)
        given = [x for x in (one, other) if x is not None]
        difference = given[0] if len(given) == 1 else given[0] - given[1]
        apart = math.hypot(apart, float(torch.linalg.vector_norm(difference)))
        length = math.hypot(length, float(torch.linalg.vector_norm(given[-1])))
    return apart <= TOLERANCES[narrowest(expected.compared.values())] * length
