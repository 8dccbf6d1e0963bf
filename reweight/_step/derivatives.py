"""Directional derivatives of a step: the cheapest exact way that goes and adds up."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Literal, cast

from torch import OutOfMemoryError, Tensor

from reweight._derivative.compiled import TOLERANCES
from reweight._derivative.identity import Identity, does_not_add_up, identity
from reweight._derivative.layer_products import NotByLayers, proof
from reweight._derivative.second_look import adds_up_in_full, once_more
from reweight._derivative.ways import PRICES, WAYS, Method, missing_derivatives_named, why
from reweight._dtypes import narrowest
from reweight._isolation.objective import Objective, Parameters
from reweight._isolation.scoring_pass import (
    Attention,
    differentiable_attention,
    repeatable_attention,
)
from reweight._isolation.wrappers import has_dtensors, several_ranks
from reweight._step.choice import Turn, can_replace
from reweight._step.noisy_passes import NoisyPasses
from reweight._warnings import warn
from reweight.errors import NOT_THE_USERS, REFUSALS, NotCompilableError

AnyMethod = Literal["auto"] | Method
# The one is what others are held against, the other approximate by its name.
_NEED_NO_PROOF = ("per_sample", "finite_difference")


class Derivatives:
    """Takes the directional derivatives of one step, and has them prove themselves.

    Args:
        objective: The losses as a function of the parameters.
        passes: The forward passes of the noisy batch.

    Attributes:
        turn: The step's part in the choice among the ways that go; ``None`` where it has none.
    """

    def __init__(self, objective: Objective, passes: NoisyPasses) -> None:
        self._objective = objective
        self._passes = passes
        self._identity: Identity | None = None
        self._attention: Attention = differentiable_attention
        self.turn: Turn | None = None

    def take(self, direction: Parameters, method: AnyMethod) -> Tensor:
        """Return ⟨∇L_i(θ), v⟩ for every loss, detached.

        Args:
            direction: v by parameter name.
            method: ``"auto"`` takes the cheapest exact way that goes and adds up; the others
                are taken or refused.

        Raises:
            RuntimeError: If the way asked for does not go or does not add up.
        """
        self._identity = None  # it is of one direction
        if self._passes.modes.compiled is not None:
            return self._compiled(direction)
        if method == "auto":
            return self._cheapest(direction)
        if method == "layer_products":
            return self._by_layers(direction)
        with missing_derivatives_named(method):
            derivative = self._proven(method, direction)
        if derivative is None:
            raise does_not_add_up(method)
        return derivative

    def _by_layers(self, direction: Parameters) -> Tensor:
        """Take the derivative layer by layer; without a training pass there is nothing to read."""
        if not self._passes.training:
            return self._cheapest(direction)
        try:
            derivative = self.by_layers(direction)
        except NotByLayers as reason:
            raise RuntimeError(
                f'method="layer_products" does not go here: {reason}. Use method="auto".'
            ) from None
        if derivative is None:
            raise does_not_add_up("layer_products")
        return derivative

    def by_layers(self, direction: Parameters) -> Tensor | None:
        """Return the derivative as products of each layer's input and output gradient.

        With it the weighted loss of the step back-propagates layer by layer, too. Both are held
        against an ordinary backward pass in the first two steps of every mode of the model, and
        of every set of operators in its graph.

        Returns:
            ``None`` if they are not the same; the weighted loss is an ordinary one then.

        Raises:
            NotByLayers: If an operator may mix samples, or the step needs what this cannot give.
        """
        passes = self._passes
        other = None
        if self.is_to_prove_itself("layer_products", ()):
            other = proof(self._objective, passes.noisy, passes.start)
            passes.note(other.losses)
        derivative = passes.derivative("layer_products", direction)
        products = passes.products
        assert products is not None
        if self.is_to_prove_itself("layer_products", products.operators_in_short) and not other:
            other = proof(self._objective, passes.noisy, passes.start)
        if other is not None and not other.holds(products, derivative, direction):
            passes.products = None
            return None
        return derivative

    def _compiled(self, direction: Parameters) -> Tensor:
        """Return the derivative by compiled graphs, and have their losses compared as well."""
        derivative = self._proven("forward", direction)
        found = self._passes.compiled_losses
        if self._identity is not None and found is not None:
            expected = self._identity.losses
            apart = (found - expected).double().abs().max()
            tolerated = TOLERANCES[narrowest(direction.values())]
            if bool(apart > tolerated * expected.double().abs().max()):
                raise NotCompilableError(
                    "compiled code gives other losses than eager code: random numbers (dropout "
                    "inside attention, say) may be drawn in another order"
                )
        if derivative is None:
            raise NotCompilableError("its derivatives do not add up to an ordinary backward pass")
        return derivative

    def _cheapest(self, direction: Parameters) -> Tensor:
        verdicts = self._objective.verdicts
        first, reasons = self._where_to_begin()
        usual = WAYS[first:]
        preferred = verdicts.chosen if self.turn is None else self.turn.prefer(usual)
        if can_replace(preferred, usual):
            derivative = self._on_trial(cast("Method", preferred), direction)
            if derivative is not None:
                return derivative
        derivative = None
        for way in usual:
            try:
                derivative = self._proven(way, direction, always=way != WAYS[0])
                if derivative is not None:
                    break
                reasons.append(f"{way} does not add up to an ordinary backward pass")
            except REFUSALS:
                raise
            except NOT_THE_USERS as error:
                # Where training itself, or the last way, fails, it is not for the derivative.
                if self._passes.training_failed or way == WAYS[-1]:
                    raise
                reasons.append(why(error, way))
            # An error of the user's own ends the step here, before another way meets it again.
            self._passes.for_scores()
        assert derivative is not None  # the last way returns one, or raises
        if self.turn is not None:
            self.turn.took(way)
        if way not in (WAYS[0], verdicts.way):
            verdicts.way, verdicts.reason = way, "; ".join(dict.fromkeys(reasons))
            warn(
                f"GradientSimilarity: {verdicts.reason}. Scores are taken by "
                f'method="{way}" from now on, which is as exact and costs more: {PRICES[way]}. '
                f"Pass that method to silence this warning."
            )
        return derivative

    def _on_trial(self, way: Method, direction: Parameters) -> Tensor | None:
        """Return the derivative by a way that is chosen for what it costs, ``None`` if refused."""
        verdicts = self._objective.verdicts
        try:
            derivative = self._proven(way, direction)
        except OutOfMemoryError:
            derivative, reason = None, "the device has not the memory for it"
        except REFUSALS:
            raise
        except NOT_THE_USERS as error:
            if self._passes.training_failed:
                raise
            derivative, reason = None, why(error, way)
        else:
            reason = "it does not add up to an ordinary backward pass"
        if derivative is None:
            self._passes.for_scores()  # an error of the user's own ends the step here
            if self.turn is not None:  # a look changes nothing
                verdicts.refused[way] = reason
                verdicts.chosen = WAYS[0] if verdicts.chosen == way else verdicts.chosen
        elif self.turn is not None:
            self.turn.took(way)
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

    def _proven(self, way: Method, direction: Parameters, *, always: bool = False) -> Tensor | None:
        """Return the derivative by ``way``, ``None`` if it was to prove itself and does not."""
        passes = self._passes
        expected = passes.expected(way)
        # The other side goes first: its activations are gone before the training pass keeps its.
        due = self._checks(expected, direction)
        if due or (always and self._objective.self_check):
            self._make_identity(way, direction, expected)
        derivative = passes.derivative(way, direction)
        if passes.taken != expected and self._checks(passes.taken, direction):
            due = True
            self._make_identity(way, direction, passes.taken)
        verdicts = self._objective.verdicts
        unseen = passes.operators.difference(verdicts.operators)
        if unseen and self._objective.self_check:
            # What keeps no graph is lost in silence, in whichever step it turns up.
            due = True
            self._make_identity(way, direction, passes.taken)
        if self._identity is None or way in _NEED_NO_PROOF:
            return derivative
        with self.left_out():
            holds = self._identity.holds(derivative)
            if holds and self._identity.in_short and passes.taken != "compiled":
                holds = self._holds_in_full(way, direction, derivative, due=due)
        if holds and unseen:
            verdicts.operators = sorted(unseen.union(verdicts.operators))
        return derivative if holds else None

    def _holds_in_full(
        self, way: Method, direction: Parameters, derivative: Tensor, *, due: bool
    ) -> bool:
        """Whether short products alone part what holds for them, by a look without them.

        Where they were seen to be the cause the checks of every step take it for granted. Several
        ranks look in the same steps, whatever each has found: a pass may wait for the others.
        """
        assert self._identity is not None
        verdicts, passes = self._objective.verdicts, self._passes
        together = several_ranks()
        known = together or verdicts.parted_by_short_products
        if (known and not due) or (
            not together and self._identity.holds(derivative, strictly=True)
        ):
            return True
        given = self._objective, passes.noisy, direction, passes.start
        holds = adds_up_in_full(lambda: once_more(way, *given), *given)
        verdicts.parted_by_short_products |= holds is not False
        return holds is not False

    def _checks(self, way: str, direction: Parameters) -> bool:
        return way not in _NEED_NO_PROOF and self.is_to_prove_itself(way, direction)

    def _make_identity(self, way: str, direction: Parameters, taken: str) -> None:
        # Dropout within attention is another by every kernel.
        attention = repeatable_attention if taken == "beside" else differentiable_attention
        if way in _NEED_NO_PROOF or (self._identity and self._attention is attention):
            return
        passes = self._passes
        with self.left_out():
            self._identity = identity(
                self._objective, passes.noisy, direction, passes.start, attention
            )
            passes.note(self._identity.losses)
        self._attention = attention

    def left_out(self) -> AbstractContextManager[None]:
        """Return the context of what has no part in what a way costs."""
        return nullcontext() if self.turn is None else self.turn.left_out()

    def is_to_prove_itself(self, way: str, names: Iterable[str]) -> bool:
        """Whether ``way`` is to prove itself in this step, for the parameters of these names."""
        objective = self._objective
        return objective.self_check and objective.verdicts.due((way, self._passes.mode, *names))

    def adds_up(
        self, direction: Parameters, derivative: Tensor, again: Callable[[], Tensor]
    ) -> bool:
        """Whether a derivative adds up.

        Args:
            direction: v by parameter name.
            derivative: ⟨∇L_i, v⟩ taken in whatever way.
            again: Takes it once more.
        """
        given = self._objective, self._passes.noisy, direction, self._passes.start
        own = identity(*given)
        if not own.in_short or not own.holds(derivative):
            return own.holds(derivative)
        if not several_ranks() and own.holds(derivative, strictly=True):
            return True
        return adds_up_in_full(again, *given) is not False
