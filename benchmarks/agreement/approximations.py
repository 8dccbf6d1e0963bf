"""What is compared with the exact scores: the same score, had at a lower price."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.agreement.task import Batch, Task
from reweight import GradientSimilarity, ScoringContext
from reweight._isolation.objective import Parameters
from reweight._step.derivatives import AnyMethod
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
    """An older trusted gradient: renewed at fixed steps, or as the fast mode does.

    Args:
        every: Steps that one gradient serves for; ``None``: for how many the fast mode finds out.
        averaging: Share of the older average in a new one.
    """

    def __init__(self, every: int | None, averaging: float = 0.0) -> None:
        self._every, self._averaging = every, averaging
        self._fast = RenewedGradient(GradientSimilarity.fast().renew_every, averaging)
        self._gradient: Parameters = {}
        self._age = 0

    def follow(self, state: State) -> None:
        """Take note of a step; wanted in each, whether or not scores are asked for."""
        fresh = state.gradient
        if self._every is None:
            self._gradient = self._fast.next(
                state.context.model, list(fresh), lambda: fresh, free=False
            )
        elif self._age % self._every == 0:
            old, share = self._gradient, self._averaging
            self._gradient = {n: torch.lerp(g, old.get(n, g), share) for n, g in fresh.items()}
        self._age += 1

    def __call__(self, state: State) -> Tensor:
        """Return the scores that the gradient kept now gives."""
        method: AnyMethod = "forward" if self._every is not None else "finite_difference"
        return state.context.directional_derivative(self._gradient, method)


def _random(state: State) -> Tensor:
    return torch.rand_like(state.context.losses)


def approximations() -> dict[str, Approximation]:
    """Return every approximation by name, those that keep a gradient without one yet."""
    return {
        "another trusted batch": _another_batch,
        "half the trusted batch": _half_the_batch,
        "finite difference": _finite_difference,
        "last quarter of the layers": _last_parameters(0.25),
        "last half of the layers": _last_parameters(0.5),
        "renewed every 2nd step": Held(2),
        "renewed every 4th step": Held(4),
        "renewed every 8th step": Held(8),
        "renewed every 4th, averaged": Held(4, 0.5),
        "fast: renewed as it changes, difference": Held(None),
        "random": _random,
    }
