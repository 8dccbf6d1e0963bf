"""Gradients of which only the value is known, in backward passes without a second derivative."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


class _FirstDerivativeOnly(torch.autograd.Function):
    """A gradient that is not constant, but of which only the value is known.

    It hangs on the parameters, for what does not depend on them is passed over in silence by
    whoever differentiates by them.
    """

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, message: str, *_: Tensor) -> Tensor:
        ctx.message = message
        return gradient.clone()

    @staticmethod
    def backward(ctx: Any, *_: Tensor) -> tuple[Tensor | None, ...]:
        raise RuntimeError(ctx.message)


def without_a_second(
    gradients: Sequence[Tensor | None], parameters: Sequence[Tensor], message: str
) -> Sequence[Tensor | None]:
    """Return what a backward pass returns, so that its own derivative raises.

    Without ``create_graph=True`` there is none, and the gradients are returned as they are.

    Args:
        gradients: Their values.
        parameters: What they would depend on.
        message: What the ``RuntimeError`` says.
    """
    if not torch.is_grad_enabled():
        return gradients
    return [
        None if g is None else _FirstDerivativeOnly.apply(g, message, *parameters)  # type: ignore[no-untyped-call]
        for g in gradients
    ]
