"""Small problems in float64, and what the library says of them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from benchmarks.meta_step.problem import Batch, Problem
from reweight import GradientSimilarity, KeepAll, MetaReweighter, ReweightedStep


def small_problem(*, batch_norm: bool, maps: bool = False) -> Problem:
    torch.manual_seed(0)
    norm: list[nn.Module] = [nn.BatchNorm1d(8)] if batch_norm else []
    network: nn.Module = nn.Sequential(nn.Linear(6, 8), *norm, nn.Tanh(), nn.Linear(8, 3))
    if maps:
        network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Tanh(), nn.Conv2d(4, 3, 1))

    def batch(count: int) -> Batch:
        if maps:
            labels = torch.randint(0, 3, (count, 4, 4))
            return torch.randn(count, 1, 6, 6, dtype=torch.float64), labels
        return torch.randn(count, 6, dtype=torch.float64), torch.randint(0, 3, (count,))

    return Problem(network.double(), batch(7), batch(5))


def library_says(problem: Problem) -> ReweightedStep:
    scorer = GradientSimilarity()
    reweighter = MetaReweighter(problem.module, problem.loss, scorer=scorer, selector=KeepAll())
    return reweighter.score(problem.noisy, problem.trusted)


def state(problem: Problem) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in problem.module.state_dict().items()}
