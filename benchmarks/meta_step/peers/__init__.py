"""What people use today for the same weights: one file each, with a function ``scorer``.

A scorer returns −∂L_v(θ̂(ε))/∂ε at ε = 0, one value per noisy sample, θ̂(ε) being one step of plain
SGD at learning rate 1 on Σ ε_i L_i (Ren et al. 2018, "Learning to Reweight Examples for Robust Deep
Learning", Algorithm 1). What follows is the same for all: negative scores to zero, the rest to sum
1, and a training step on the weighted loss.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.profiler import record_function

from benchmarks.meta_step.problem import Problem, Step

Scores = Callable[[], Tensor]


def unfused_attention() -> AbstractContextManager[None]:
    """Return the context in which attention has second derivatives; the fused kernels have none."""
    return sdpa_kernel(SDPBackend.MATH)


def normalized(scores: Tensor) -> Tensor:
    """Return the scores with negative ones zero and sum 1, or all zero (Algorithm 1, line 9)."""
    positive = scores.clamp(min=0)
    total = positive.sum()
    return positive / (total + (total == 0))


def weighted_step(problem: Problem, scores: Scores) -> Step:
    """Return the training step on the loss weighted by ``scores``."""

    def step() -> None:
        with record_function("scores"):
            weights = normalized(scores())
        losses = problem.losses(problem.model, problem.noisy)
        problem.descend((weights * losses).sum())

    return step
