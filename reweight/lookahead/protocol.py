"""What a look-ahead is, and its linearisation at w = 0."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from reweight._isolation.objective import Parameters


class Lookahead(Protocol):
    """An optimiser as a differentiable function.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from reweight import GradientSimilarity, MetaReweighter
        >>> model, loss = nn.Linear(4, 3), nn.CrossEntropyLoss(reduction="none")
        >>> noisy, trusted = [(torch.randn(6, 4), torch.randint(3, (6,))) for _ in range(2)]
        >>> class SignedSGD:  # one of your own
        ...     def start(self, parameters):
        ...         return None
        ...
        ...     def update(self, parameters, gradients, state):
        ...         moved = {n: p - torch.tanh(1e3 * gradients[n]) for n, p in parameters.items()}
        ...         return moved, state
        >>> scorer = GradientSimilarity(lookahead=SignedSGD())
        >>> MetaReweighter(model, loss, scorer=scorer)(noisy, trusted).weights.shape
        torch.Size([6])
    """

    def start(self, parameters: dict[str, nn.Parameter]) -> Any:
        """Return the optimiser state before the first virtual step on the model's parameters."""
        ...

    def update(
        self, parameters: Parameters, gradients: Parameters, state: Any
    ) -> tuple[Parameters, Any]:
        """Return parameters and state after one step, differentiable in both arguments.

        Nothing is changed in place. ``gradients`` has a tensor for every parameter.
        """
        ...


@dataclass(frozen=True)
class Linearization:
    """A look-ahead near w = 0, where its gradient argument is zero.

    Attributes:
        point: θ̂(0) by parameter name.
        moved: Whether θ̂(0) differs from θ (momentum or weight decay move it): a scalar, which
            is not waited for.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from reweight.lookahead import SGD, linearize
        >>> near = linearize(SGD(lr=0.5), {"weight": nn.Parameter(torch.ones(2))})
        >>> near.pull_back({"weight": torch.tensor([1.0, -2.0])})  # α ∇L_v
        {'weight': tensor([ 0.5000, -1.0000])}
    """

    point: Parameters
    moved: Tensor
    _gradients: Parameters
    _updated: Parameters

    def pull_back(self, trusted_gradient: Parameters) -> Parameters:
        """Return v, with ⟨∇L_i(θ), v⟩ = −∂L_v(θ̂(w))/∂w_i at w = 0.

        By the chain rule v = −(∂θ̂/∂G)ᵀ ∇L_v(θ̂(0)), G the gradient that the optimiser is given.

        Args:
            trusted_gradient: ∇L_v at :attr:`point`, by parameter name.
        """
        names = [name for name in trusted_gradient if self._updated[name].requires_grad]
        if not names:
            return {}
        change = sum((-trusted_gradient[name] * self._updated[name]).sum() for name in names)
        assert isinstance(change, Tensor)
        pulled = torch.autograd.grad(change, list(self._gradients.values()), allow_unused=True)
        return {
            name: tensor
            for name, tensor in zip(self._gradients, pulled, strict=True)
            if tensor is not None
        }


def linearize(lookahead: Lookahead, parameters: dict[str, nn.Parameter]) -> Linearization:
    """Linearise ``lookahead`` at the model's ``parameters`` and zero gradient.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from reweight.lookahead import as_lookahead, linearize
        >>> weight = nn.Parameter(torch.ones(2))
        >>> decaying = as_lookahead(torch.optim.SGD([weight], lr=0.1, weight_decay=0.5))
        >>> linearize(decaying, {"weight": weight}).point  # where weight decay alone leads
        {'weight': tensor([0.9500, 0.9500])}
    """
    start = {name: p.detach() for name, p in parameters.items()}
    gradients = {name: torch.zeros_like(p, requires_grad=True) for name, p in start.items()}
    with torch.enable_grad():
        updated, _ = lookahead.update(start, gradients, lookahead.start(parameters))
    point = {name: tensor.detach() for name, tensor in updated.items()}
    steps = [point[n] - start[n] for n, tensor in updated.items() if tensor is not start[n]]
    moved = nn.utils.get_total_norm(steps, float("inf")) != 0
    return Linearization(point, moved, gradients, updated)
