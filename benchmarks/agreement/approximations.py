"""What is compared with the exact scores: the same score, had at a lower price."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.agreement.task import Batch, Task
from reweight import GradientSimilarity, ScoringContext
from reweight._isolation.objective import Parameters
from reweight._step.noisy_passes import Method
from reweight._trusted.renewal import RenewedGradient

Approximation = Callable[["State"], Tensor]


@dataclass(frozen=True, eq=False)
class State:
    """One step, before the optimiser's.

    Attributes:
        task: The training run.
        context: Its noisy batch, judged by its trusted batch.
        elsewhere: Makes the same of the noisy batch and another trusted one.
        other: A trusted batch that shares no sample with the step's own.
        gradient: The exact trusted gradient.
    """

    task: Task
    context: ScoringContext
    elsewhere: Callable[[Batch], ScoringContext]
    other: Batch
    gradient: Parameters


def _another_batch(state: State) -> Tensor:
    return state.context.directional_derivative(state.elsewhere(state.other).trusted_gradient())


def _half_the_batch(state: State) -> Tensor:
    inputs, targets = state.context.trusted
    half = (inputs[: len(inputs) // 2], targets[: len(targets) // 2])
    return state.context.directional_derivative(state.elsewhere(half).trusted_gradient())


def _finite_difference(state: State) -> Tensor:
    return state.context.directional_derivative(state.gradient, "finite_difference")


def _last_parameters(share: float) -> Approximation:
    """Only the last parameter tensors of the model, in its own order, that make up ``share``."""

    def scores(state: State) -> Tensor:
        names = list(state.gradient)
        kept = names[len(names) - max(1, round(share * len(names))) :]
        return state.context.directional_derivative({name: state.gradient[name] for name in kept})

    return scores


class Held:
    """An older trusted gradient, as ``renew_every`` and ``averaging`` keep it.

    Args:
        every: Steps that one gradient serves for.
        averaging: Share of the older average in a new one.
        method: Of the directional derivative.
    """

    def __init__(self, every: int, averaging: float, method: Method = "forward") -> None:
        self._held = RenewedGradient(every, averaging)
        self._method: Method = method
        self._gradient: Parameters = {}

    def follow(self, state: State) -> None:
        """Take note of a step; wanted in each, whether or not scores are asked for."""
        self._gradient = self._held.next(
            state.context.model, list(state.gradient), lambda: state.gradient, free=False
        )

    def __call__(self, state: State) -> Tensor:
        """Return the scores that the gradient kept now gives."""
        return state.context.directional_derivative(self._gradient, self._method)


def _random(state: State) -> Tensor:
    return torch.rand_like(state.context.losses)


def approximations() -> dict[str, Approximation]:
    """Return every approximation by name, those that keep a gradient without one yet."""
    fast = GradientSimilarity.fast()
    return {
        "another trusted batch": _another_batch,
        "half the trusted batch": _half_the_batch,
        "finite difference": _finite_difference,
        "last quarter of the layers": _last_parameters(0.25),
        "last half of the layers": _last_parameters(0.5),
        "renewed every 2nd step": Held(2, 0.0),
        "renewed every 4th step": Held(4, 0.0),
        "renewed every 8th step": Held(8, 0.0),
        "renewed every 4th, averaged": Held(4, 0.5),
        "fast: every 8th, averaged, difference": Held(
            fast.renew_every, fast.averaging, "finite_difference"
        ),
        "random": _random,
    }
