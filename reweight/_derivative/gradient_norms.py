"""‖∇L_i(θ)‖ for every loss."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from reweight._derivative.dense import dense
from reweight._derivative.layer_products import LayerProducts, NotByLayers
from reweight._isolation.losses import Losses
from reweight._isolation.objective import Objective, Parameters
from reweight._isolation.start import Start
from reweight._isolation.wrappers import whole

_AGREEMENT = {8: 1e-8, 4: 1e-3}


def gradient_norms(
    objective: Objective,
    batch: Any,
    names: list[str],
    start: Start,
    say: Callable[[int, str], None],
    *,
    prove: bool,
) -> Tensor:
    """Return ‖∇L_i(θ)‖ over some parameters, in the losses' shape, detached.

    By a pass of its own: layer by layer where samples are independent, else by one backward pass a
    loss.

    Args:
        objective: The losses as a function of the parameters.
        batch: The noisy batch.
        names: The parameters' names.
        start: What the pass starts from.
        say: Is told of how many backward passes are made, and why.
        prove: Whether norms taken layer by layer are held against two backward passes.
    """

    def one(loss: Tensor, leaves: Parameters) -> Tensor:
        found = torch.autograd.grad(
            loss, [leaves[name] for name in names], retain_graph=True, allow_unused=True
        )
        squares = torch.zeros_like(loss)
        for name, gradient in zip(names, found, strict=True):
            if gradient is not None:
                hooked = objective.hooks.applied(start.trainable[name], gradient).detach()
                norm = whole(torch.linalg.vector_norm(dense(hooked)))
                squares = squares + norm.to(squares).square()
        return squares.sqrt().detach()

    def differentiate(found: Losses, leaves: Parameters) -> Tensor:
        losses = found.values
        if not losses.requires_grad:
            return torch.zeros_like(losses)
        objective.known_leaves.look(losses, leaves.values(), start.trainable)
        try:
            if objective.hooks.change:
                raise NotByLayers("a gradient hook changes gradients")
            norms = LayerProducts(losses, leaves).norms(names)
            if prove:
                ends = torch.stack([one(losses[0], leaves), one(losses[-1], leaves)])
                agreement = _AGREEMENT[min(8, norms.dtype.itemsize)]
                if not torch.allclose(norms[[0, -1]], ends, rtol=agreement, atol=0.0):
                    raise NotByLayers("norms taken so are not those of a backward pass")
        except NotByLayers as reason:
            say(losses.numel(), str(reason))
            return torch.stack([one(loss, leaves) for loss in losses.flatten()]).reshape(
                losses.shape
            )
        return norms

    return objective.evaluate(
        lambda: objective.leaves(start.trainable, start),
        batch,
        differentiate,
        start,
        first_order=True,
    )
