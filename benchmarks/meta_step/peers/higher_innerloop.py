"""facebookresearch/higher: ``higher.innerloop_ctx``, as its users write learning to reweight."""

from __future__ import annotations

import higher
import torch
from torch import Tensor

from benchmarks.meta_step.peers import Scores, unfused_attention
from benchmarks.meta_step.problem import Problem


def scorer(problem: Problem) -> Scores:
    """Return the scores by a patched copy of the network and a differentiable SGD."""
    virtual = torch.optim.SGD(problem.module.parameters(), lr=1.0)

    def scores() -> Tensor:
        inner = higher.innerloop_ctx(problem.module, virtual)
        with unfused_attention(), inner as (network, optimizer):
            losses = problem.losses(network, problem.noisy)
            epsilon = torch.zeros_like(losses, requires_grad=True)
            optimizer.step((epsilon * losses).sum())
            trusted = problem.losses(network, problem.trusted)
            return -torch.autograd.grad(trusted.mean(), epsilon)[0].detach()

    return scores
