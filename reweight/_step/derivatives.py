"""Directional derivatives of a step: the cheapest exact way that goes and adds up."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from torch import Tensor

from reweight._derivative.identity import adds_up, does_not_add_up
from reweight._derivative.ways import PRICES, WAYS, Method, why
from reweight._isolation.objective import Objective, Parameters
from reweight._isolation.wrappers import has_dtensors
from reweight._step.noisy_passes import NoisyPasses
from reweight._warnings import warn
from reweight.errors import NOT_THE_USERS, REFUSALS

AnyMethod = Literal["auto"] | Method


class Derivatives:
    """Takes the directional derivatives of one step, and has them prove themselves.

    Args:
        objective: The losses as a function of the parameters.
        passes: The forward passes of the noisy batch.
    """

    def __init__(self, objective: Objective, passes: NoisyPasses) -> None:
        self._objective = objective
        self._passes = passes

    def take(self, direction: Parameters, method: AnyMethod) -> Tensor:
        """Return ⟨∇L_i(θ), v⟩ for every loss, detached.

        Args:
            direction: v by parameter name.
            method: ``"auto"`` takes the cheapest exact way that goes and adds up; the others
                are taken or refused.

        Raises:
            RuntimeError: If the way asked for does not add up.
        """
        if method == "auto":
            return self._cheapest(direction)
        derivative = self._passes.derivative(method, direction)
        if method != "finite_difference" and not self._proves_itself(direction, derivative):
            raise does_not_add_up(method)
        return derivative

    def _cheapest(self, direction: Parameters) -> Tensor:
        verdicts = self._objective.verdicts
        first, reasons = self._where_to_begin()
        for way in WAYS[first:]:
            try:
                derivative = self._passes.derivative(way, direction)
                if self._proves_itself(direction, derivative, always=way != WAYS[0]):
                    break
                reasons.append(f"{way} does not add up to an ordinary backward pass")
            except REFUSALS:
                raise
            except NOT_THE_USERS as error:
                # Where training itself, or the last way, fails, it is not for the derivative.
                if self._passes.training_failed or way == WAYS[-1]:
                    raise
                reasons.append(why(error, way))
        if way not in (WAYS[0], verdicts.way):
            verdicts.way, verdicts.reason = way, "; ".join(dict.fromkeys(reasons))
            warn(
                f"GradientSimilarity: {verdicts.reason}. Scores are taken by "
                f'method="{way}" from now on, which is as exact and costs more: {PRICES[way]}. '
                f"Pass that method to silence this warning."
            )
        return derivative

    def _where_to_begin(self) -> tuple[int, list[str]]:
        verdicts = self._objective.verdicts
        if has_dtensors(self._objective.module):
            return WAYS.index("per_sample"), ["tensor parallelism"]
        if verdicts.way in WAYS:
            return WAYS.index(verdicts.way), [verdicts.reason]
        if self._objective.hooks.change:
            return WAYS.index("double_backward"), ["a gradient hook changes gradients"]
        return 0, []

    def _proves_itself(
        self, direction: Parameters, derivative: Tensor, *, always: bool = False
    ) -> bool:
        """Whether ``derivative`` adds up, where that is to be found out in this step."""
        way = self._passes.taken
        if not (self.is_to_prove_itself(way, direction) or (always and self._objective.self_check)):
            return True
        return way == "per_sample" or self.adds_up(direction, derivative)

    def is_to_prove_itself(self, way: str, names: Iterable[str]) -> bool:
        """Whether ``way`` is to prove itself in this step, for the parameters of these names."""
        objective = self._objective
        return objective.self_check and objective.verdicts.due((way, self._passes.mode, *names))

    def adds_up(self, direction: Parameters, derivative: Tensor) -> bool:
        """Whether ``derivative``, ⟨∇L_i, v⟩ taken in whatever way, adds up."""
        passes = self._passes
        return adds_up(self._objective, passes.noisy, direction, passes.start, derivative)
