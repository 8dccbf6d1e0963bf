"""Per-sample gradients by ``torch.func.vmap``, and their products with the trusted gradient.

They exist only where no layer couples the samples: PyTorch refuses BatchNorm in train mode.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.func import functional_call, grad, vmap

from benchmarks.meta_step.peers import Scores
from benchmarks.meta_step.problem import Problem


def scorer(problem: Problem) -> Scores:
    """Return the scores ⟨∇L_i, ∇L_v⟩ from C whole gradients."""
    network = problem.module

    def loss_of_one(parameters: dict[str, Tensor], inputs: Tensor, target: Tensor) -> Tensor:
        batch = (inputs.unsqueeze(0), target.unsqueeze(0))
        return problem.losses(lambda x: functional_call(network, parameters, (x,)), batch).sum()

    per_sample = vmap(grad(loss_of_one), in_dims=(None, 0, 0), randomness="different")

    def scores() -> Tensor:
        parameters = {n: p for n, p in network.named_parameters() if p.requires_grad}
        detached = {name: parameter.detach() for name, parameter in parameters.items()}
        gradients = per_sample(detached, *problem.noisy)
        trusted = torch.autograd.grad(
            problem.losses(network, problem.trusted).mean(), list(parameters.values())
        )
        products = [
            gradients[name].flatten(1) @ direction.flatten()
            for name, direction in zip(parameters, trusted, strict=True)
        ]
        return torch.stack(products).sum(0)

    return scores
