"""Algorithm 1 as written: the oracle that every faster score is held against."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from reweight._isolation.losses import Losses
from reweight._isolation.objective import Objective, Parameters
from reweight._isolation.start import Start
from reweight.errors import check_finite
from reweight.lookahead.protocol import Lookahead

Joint = Callable[[Tensor, Tensor | int, Parameters], tuple[Tensor, Parameters]]


def unrolled_scores(
    objective: Objective,
    noisy: Any,
    trusted: Any,
    lookahead: Lookahead,
    names: list[str],
    start: Start,
    inner_steps: int = 1,
    joint: Joint | None = None,
) -> tuple[Tensor, Tensor]:
    """Return −∂L_v(θ̂(w))/∂w at w = 0 by differentiating through the virtual steps.

    Algorithm 1, lines 4–11 (Ren et al. 2018). The second-order graph of the virtual steps is held
    in memory; ∇L_v at the look-ahead is taken first, then led back through them.

    Args:
        objective: The losses as a function of the parameters.
        noisy: The noisy batch.
        trusted: The trusted batch.
        lookahead: The optimiser of the virtual steps.
        names: Parameters that the virtual steps move.
        start: Buffers and random numbers that every pass starts from.
        inner_steps: K ≥ 1 virtual steps on the same batch under the same weights.
        joint: Makes the mean trusted loss, of how many it is one, and its gradient those of all
            ranks; ``None``: they are this rank's.

    Returns:
        The scores, in the shape of the losses, and the mean trusted loss at the look-ahead.

    Raises:
        NonFiniteError: If a loss is not finite.
    """
    parameters = {name: p for name, p in start.trainable.items() if name in set(names)}
    values = objective.values(parameters, start)
    origin = {name: value.clone().requires_grad_() for name, value in values.items()}
    run = _Unrolled(objective, noisy, trusted, lookahead, start, inner_steps, joint)
    return run.after_steps(0, origin, lookahead.start(parameters))


class _Unrolled:
    """One run of Algorithm 1.

    A virtual step is taken within the evaluation of the one before, and each is a method: functions
    that call each other out of one another would keep the whole graph alive, as a reference cycle
    that only the garbage collector breaks.
    """

    def __init__(
        self,
        objective: Objective,
        noisy: Any,
        trusted: Any,
        lookahead: Lookahead,
        start: Start,
        inner_steps: int,
        joint: Joint | None,
    ) -> None:
        self.objective, self.noisy, self.trusted = objective, noisy, trusted
        self.lookahead, self.start, self.inner_steps = lookahead, start, inner_steps
        self.joint = joint
        self.weights: Tensor | None = None

    def after_steps(self, count: int, point: Parameters, state: Any) -> tuple[Tensor, Tensor]:
        """Return the scores, ``count`` virtual steps having led to ``point``."""
        if count == self.inner_steps:
            return self._pull_back(point)
        then = partial(self._step, count, point, state)
        return self.objective.evaluate(lambda: point, self.noisy, then, self.start)

    def _step(
        self, count: int, point: Parameters, state: Any, found: Losses, _: Parameters
    ) -> tuple[Tensor, Tensor]:
        losses = found.values
        check_finite(losses, "loss", "noisy")
        if self.weights is None:
            self.weights = torch.zeros_like(losses, requires_grad=True)
        gradients = _gradients((self.weights * losses).sum(), point, create_graph=True)
        return self.after_steps(count + 1, *self.lookahead.update(point, gradients, state))

    def _pull_back(self, point: Parameters) -> tuple[Tensor, Tensor]:
        """Return −∂L_v/∂w by the chain rule: ∇L_v at the look-ahead, back through the steps."""
        weights = self.weights
        assert weights is not None
        leaves = {name: value.detach().requires_grad_() for name, value in point.items()}
        loss, number, gradients = self.objective.evaluate(
            lambda: leaves, self.trusted, _trusted_gradients, self.start
        )
        if self.joint is not None:
            loss, gradients = self.joint(loss, number, gradients)
        moved = [name for name in gradients if point[name].requires_grad]
        if not moved:
            return torch.zeros_like(weights), loss
        change = sum((-gradients[name].conj() * point[name]).real.sum() for name in moved)
        assert isinstance(change, Tensor)
        (gradient,) = torch.autograd.grad(change, weights, allow_unused=True)
        return torch.zeros_like(weights) if gradient is None else gradient, loss


def _trusted_gradients(
    losses: Losses, leaves: Parameters
) -> tuple[Tensor, Tensor | int, Parameters]:
    check_finite(losses.values, "loss", "trusted")
    mean = losses.mean()
    gradients = _gradients(mean, leaves) if mean.requires_grad else {}
    return mean.detach(), losses.number, gradients


def _gradients(loss: Tensor, point: Parameters, *, create_graph: bool = False) -> Parameters:
    found = torch.autograd.grad(
        loss, list(point.values()), create_graph=create_graph, allow_unused=True
    )
    return {
        name: torch.zeros_like(value) if gradient is None else gradient
        for (name, value), gradient in zip(point.items(), found, strict=True)
    }
