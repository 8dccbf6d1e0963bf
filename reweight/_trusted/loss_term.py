"""A scalar whose gradient is already known, as a term of a loss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


class _KnownGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, gradients: list[Tensor], *_: Tensor) -> Tensor:
        ctx.gradients = gradients
        return value.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, scale: Tensor) -> tuple[Tensor | None, ...]:
        return (None, None, *(g * scale.to(g.dtype) for g in ctx.gradients))


def known_gradient_term(
    value: Tensor, parameters: Mapping[str, Tensor], gradients: Mapping[str, Tensor]
) -> Tensor:
    """Return ``value`` as a scalar that back-propagates ``gradients`` to ``parameters``.

    Gradients that another pass has computed join a loss this way, and a loss scale, gradient
    accumulation or a gradient hook treats them like any other.

    Args:
        value: The scalar's value.
        parameters: Leaves of the model by name.
        gradients: The gradient of the scalar, for some of them.
    """
    # Only those: to name a parameter, even with no gradient, is to tell DistributedDataParallel
    # that it was used.
    named = [parameters[name] for name in gradients]
    if not named:
        named = list(parameters.values())[:1]
        gradients = {"": torch.zeros_like(named[0])}
    term: Tensor = _KnownGradient.apply(value.detach(), list(gradients.values()), *named)  # type: ignore[no-untyped-call]
    return term
