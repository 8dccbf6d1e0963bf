"""leopard-ai/betty: two problems and an engine, ``darts`` (its default) for the hypergradient.

``darts`` takes the derivative by central differences of the noisy losses, along ±∇L_v: its scores
are approximate. Betty 0.1.1 does not undo the last of its moves, so the lower problem holds a copy
of the network, which is brought up to date at every step.
"""

from __future__ import annotations

import copy
import logging
from typing import Any

import torch
from betty.configs import Config, EngineConfig
from betty.engine import Engine
from betty.logging.logger_base import get_logger
from betty.problems import ImplicitProblem
from torch import Tensor, nn
from typing_extensions import override

from benchmarks.meta_step.peers import Scores
from benchmarks.meta_step.problem import Batch, Problem


class _Epsilon(nn.Module):
    """The weights ε of the noisy batch, ``(C,)``."""

    def __init__(self, samples: int, like: Tensor) -> None:
        super().__init__()
        self.epsilon = nn.Parameter(like.new_zeros(samples))

    @override
    def forward(self) -> Tensor:
        """Return ε."""
        return self.epsilon


class _Lower(ImplicitProblem):  # type: ignore[misc]
    """Σ ε_i L_i, minimised over the network."""

    task: Problem
    upper: Any  # set by the engine

    def training_step(self, batch: Batch) -> Tensor:
        losses = self.task.losses(self.module, batch)
        weighted: Tensor = losses * self.upper()
        return weighted.sum()


class _Upper(ImplicitProblem):  # type: ignore[misc]
    """The mean trusted loss, minimised over ε."""

    task: Problem
    lower: Any  # set by the engine

    def training_step(self, batch: Batch) -> Tensor:
        return self.task.losses(self.lower.module, batch).mean()


def scorer(problem: Problem) -> Scores:
    """Return the scores by one step of the engine: the upper SGD moves ε from 0 by −∂L_v/∂ε."""
    get_logger().setLevel(logging.WARNING)  # it would announce itself on standard output
    network = copy.deepcopy(problem.module)
    weights = _Epsilon(len(problem.noisy[0]), next(network.parameters()))
    config = Config(type="darts", unroll_steps=1, retain_graph=True)
    lower = _Lower(
        "lower",
        config,
        module=network,
        optimizer=torch.optim.SGD(network.parameters(), lr=1.0),
        train_data_loader=[problem.noisy],
        device=problem.device,
    )
    upper = _Upper(
        "upper",
        config,
        module=weights,
        optimizer=torch.optim.SGD(weights.parameters(), lr=1.0),
        train_data_loader=[problem.trusted],
        device=problem.device,
    )
    lower.task = upper.task = problem
    dependencies = {"u2l": {upper: [lower]}, "l2u": {lower: [upper]}}
    engine = Engine([upper, lower], EngineConfig(), dependencies)

    def scores() -> Tensor:
        network.load_state_dict(problem.module.state_dict())
        weights.epsilon.data.zero_()
        engine.train_step()
        return weights.epsilon.detach().clone()

    return scores
