"""⟨∇L_i(θ), v⟩ by differentiating a backward pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from reweight._derivative.every_label import TakeOutput
from reweight._isolation.graph_leaves import nodes_of
from reweight._isolation.losses import Losses
from reweight._isolation.objective import Objective, Parameters
from reweight._isolation.start import Start


def double_backward(
    objective: Objective,
    batch: Any,
    direction: Parameters,
    start: Start,
    note: Callable[[Tensor], None] = lambda _: None,
    take_output: TakeOutput | None = None,
) -> Tensor:
    """Return ⟨∇L_i(θ), v⟩, detached, as the derivative by u of ⟨Σ u_i ∇L_i, v⟩, which is linear.

    What a backward pass computes without a graph (a kernel of its own, NumPy) is a constant in it,
    and drops out unseen (see :mod:`reweight._derivative.identity`), unless it is marked with
    ``once_differentiable``, as what is a constant by mistake.

    Args:
        objective: The losses as a function of the parameters.
        batch: The noisy batch.
        direction: v by parameter name.
        start: What the pass starts from.
        note: Is given the losses of the pass.
        take_output: Where the tangent of the model's output is wanted too.

    Raises:
        RuntimeError: If a part of it is marked with ``once_differentiable``.
    """

    def differentiate(found: Losses, leaves: Parameters) -> Tensor:
        note(found.values)
        source = found.made_from if take_output is not None else None
        output = None if source is None else source.output
        wanted = [found.values, *([output] if isinstance(output, Tensor) else [])]
        tangents = _along(objective, wanted, leaves, direction, start)
        if take_output is not None and source is not None and isinstance(output, Tensor):
            take_output(replace(source, output=output.detach()), tangents[1])
        return tangents[0]

    return objective.evaluate(
        lambda: objective.leaves(direction, start), batch, differentiate, start
    )


def _along(
    objective: Objective,
    values: Sequence[Tensor],
    leaves: Parameters,
    direction: Parameters,
    start: Start,
) -> list[Tensor]:
    """Return ⟨∇y, v⟩ for each of ``values``, in its shape."""
    moving = [x for x in values if x.requires_grad]
    tangents = {id(x): torch.zeros_like(x).detach() for x in values}
    if not moving:
        return list(tangents.values())
    cotangents = [torch.zeros_like(x, requires_grad=True) for x in moving]
    weighted = [(u * x).sum() for u, x in zip(cotangents, moving, strict=True)]
    combined = torch.autograd.grad(
        sum(weighted[1:], weighted[0]),
        list(leaves.values()),
        create_graph=True,
        allow_unused=True,
    )
    terms = []
    for name, gradient in zip(leaves, combined, strict=True):
        hooked = (
            None if gradient is None else objective.hooks.applied(start.trainable[name], gradient)
        )
        if hooked is not None and hooked.requires_grad:
            terms.append((hooked.conj() * direction[name]).real.sum())
    if terms:
        total = torch.stack(terms).sum()
        _refuse_constants(total)
        found = torch.autograd.grad(total, cotangents, allow_unused=True, materialize_grads=True)
        tangents |= {id(x): tangent for x, tangent in zip(moving, found, strict=True)}
    return [tangents[id(x)] for x in values]


def _refuse_constants(total: Tensor) -> None:
    """Raise what PyTorch would if it came upon the mark: no way to the cotangent leads past it."""
    if any(node.name() == "torch::autograd::Error" for node in nodes_of(total)):
        raise RuntimeError(
            "trying to differentiate twice a function that was marked with @once_differentiable\n"
            'Its backward pass keeps no graph. Use method="auto" or "per_sample".'
        )
