"""A scalar whose gradient is already known, as a term of a loss."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from reweight._derivative.first_derivative import without_a_second

_NO_SECOND = (
    "the trusted term of a step's loss has a first derivative and no second one: its gradient was "
    "computed by another pass, and is a number here. Leave trusted_coefficient at 0, and add the "
    "mean trusted loss to step.loss yourself, where a gradient penalty or a Hessian is wanted."
)


@dataclass(frozen=True, eq=False, slots=True)
class TrustedTerm:
    """The mean trusted loss L_v, whose gradient is known, as a term of a step's loss.

    Attributes:
        loss: L_v, a scalar.
        gradients: What backward passes on, by parameter name: the gradient of ``own_loss``.
        own_loss: Where L_v is the mean over several ranks: what it is on this one.
        scale: By what this rank's gradient is multiplied, so that the ranks' mean is that of L_v.
    """

    loss: Tensor
    gradients: Mapping[str, Tensor]
    own_loss: Tensor | None = None
    scale: Tensor | None = None

    def of(self, parameters: Mapping[str, Tensor]) -> Tensor:
        """Return a scalar of value L_v that back-propagates to ``parameters``."""
        if self.own_loss is None or self.scale is None:
            return known_gradient_term(self.loss, parameters, self.gradients)
        scaled = known_gradient_term(self.own_loss, parameters, self.gradients) * self.scale
        return scaled + (self.loss - scaled.detach())


class _KnownGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, gradients: list[Tensor], *parameters: Tensor) -> Tensor:
        # What is saved this way is freed by backward, as every other part of the graph.
        ctx.save_for_backward(*gradients)
        ctx.parameters = parameters
        return value.clone()

    @staticmethod
    def backward(ctx: Any, scale: Tensor) -> tuple[Tensor | None, ...]:
        gradients = [known * scale.to(known.device) for known in ctx.saved_tensors]
        return (None, None, *without_a_second(gradients, ctx.parameters, _NO_SECOND))


def known_gradient_term(
    value: Tensor, parameters: Mapping[str, Tensor], gradients: Mapping[str, Tensor]
) -> Tensor:
    """Return ``value`` as a scalar that back-propagates ``gradients`` to ``parameters``.

    Gradients that another pass has computed join a loss this way, and a loss scale, gradient
    accumulation or a gradient hook treats them like any other. A sparse one stays sparse.
    Backward frees them unless ``retain_graph=True``; the second derivative raises a
    ``RuntimeError``.

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
