"""A scalar whose gradient is already known, as a term of a loss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


class _KnownGradient(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, value: Tensor, gradients: list[Tensor | None], *parameters: Tensor
    ) -> Tensor:
        ctx.gradients = gradients
        ctx.count = len(parameters)
        return value.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, scale: Tensor) -> tuple[Tensor | None, ...]:
        scaled = [None if g is None else g * scale.to(g.dtype) for g in ctx.gradients]
        return (None, None, *scaled)


def with_known_gradient(
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
    found = [gradients.get(name) for name in parameters]
    term: Tensor = _KnownGradient.apply(value.detach(), found, *parameters.values())  # type: ignore[no-untyped-call]
    return term
