"""TorchOpt: a ``MetaSGD`` step on the network itself, which is then put back."""

from __future__ import annotations

import torch
import torchopt
from torch import Tensor

from benchmarks.meta_step.peers import Scores, unfused_attention
from benchmarks.meta_step.problem import Problem


def scorer(problem: Problem) -> Scores:
    """Return the scores by ``extract_state_dict``, ``MetaSGD.step`` and ``recover_state_dict``."""
    network = problem.module
    virtual = torchopt.MetaSGD(network, lr=1.0)
    start = torchopt.extract_state_dict(virtual, by="reference")

    def scores() -> Tensor:
        state = torchopt.extract_state_dict(network, by="reference", detach_buffers=True)
        try:
            with unfused_attention():
                losses = problem.losses(network, problem.noisy)
                epsilon = torch.zeros_like(losses, requires_grad=True)
                virtual.step((epsilon * losses).sum())
                trusted = problem.losses(network, problem.trusted)
                return -torch.autograd.grad(trusted.mean(), epsilon)[0]
        finally:
            torchopt.recover_state_dict(network, state)
            torchopt.recover_state_dict(virtual, start)

    return scores
