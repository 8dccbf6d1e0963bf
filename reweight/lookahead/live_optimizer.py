"""Look-ahead with the optimiser that trains the model, in its present state.

The update rules of ``torch.optim`` are written out as differentiable functions here, because the
optimisers themselves step in place. Where a second moment is zero, the derivative of its square
root is taken as the finite limit of the whole update, instead of the NaN of ``0 · ∞``.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Adam, AdamW, Optimizer, sgd

from reweight._isolation.objective import Parameters
from reweight.lookahead.wrapped_optimizer import innermost

_Group = dict[str, Any]
_State = dict[str, Any]


class LiveOptimizer:
    """A live ``torch.optim`` SGD, Adam or AdamW as a look-ahead.

    Each call starts from the optimiser's present state and settings, parameter groups included
    (a scheduler's learning rate is followed). The optimiser is only read. Parameters of the model
    that it does not hold stay where they are.

    Args:
        optimizer: The optimiser of the training loop, or a wrapper that holds it, such as
            accelerate's. The rule and the state followed are those of the optimiser inside.

    Raises:
        TypeError: If it is of another class.
        ValueError: If it is a wrapper, and what it holds has only some of its parameters.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from reweight import GradientSimilarity, MetaReweighter
        >>> model, loss = nn.Linear(4, 3), nn.CrossEntropyLoss(reduction="none")
        >>> noisy, trusted = [(torch.randn(6, 4), torch.randint(3, (6,))) for _ in range(2)]
        >>> optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
        >>> scorer = GradientSimilarity(lookahead=optimizer)
        >>> scorer.lookahead
        LiveOptimizer(AdamW)
        >>> MetaReweighter(model, loss, scorer=scorer)(noisy, trusted).weights.shape
        torch.Size([6])
    """

    def __init__(self, optimizer: Any) -> None:
        inside = innermost(optimizer, (sgd.SGD, Adam, AdamW))
        if type(inside) not in (sgd.SGD, Adam, AdamW):
            raise TypeError(_refusal(optimizer, inside))
        self.optimizer: Optimizer = inside

    def start(self, parameters: dict[str, nn.Parameter]) -> dict[str, tuple[_Group, _State]]:
        """Return, by parameter name, its group's settings and a copy of its present state.

        Raises:
            ValueError: If the optimiser holds none of ``parameters``.
        """
        names = {id(p): name for name, p in parameters.items()}
        decoupled = isinstance(self.optimizer, AdamW)
        found = {}
        for group in self.optimizer.param_groups:
            settings = {"decoupled_weight_decay": decoupled, **group}
            for p in group["params"]:
                if id(p) in names:
                    found[names[id(p)]] = (settings, dict(self.optimizer.state.get(p, {})))
        if not found:
            raise ValueError(
                "the look-ahead optimiser holds none of the model's parameters that are compared; "
                "build it from this very model's parameters()."
            )
        return found

    def update(
        self,
        parameters: Parameters,
        gradients: Parameters,
        state: dict[str, tuple[_Group, _State]],
    ) -> tuple[Parameters, dict[str, tuple[_Group, _State]]]:
        """Return the parameters and the state after one step of the optimiser's rule."""
        rule = _sgd if isinstance(self.optimizer, sgd.SGD) else _adam
        updated, states = dict(parameters), {}
        for name, (group, present) in state.items():
            updated[name], following = rule(parameters[name], gradients[name], group, present)
            states[name] = (group, following)
        return updated, states

    def __repr__(self) -> str:
        return f"LiveOptimizer({type(self.optimizer).__name__})"


def _refusal(given: Any, inside: Any) -> str:
    holds = "" if inside is given else f", which holds a {type(inside).__name__}"
    kin = [kind.__name__ for kind in (sgd.SGD, AdamW, Adam) if isinstance(inside, kind)]
    advice = (
        f"A subclass may step by another rule; if its rule is that of {kin[0]}, pass a "
        f"torch.optim.{kin[0]} that shares its param_groups and state."
        if kin
        else "Pass the TorchOpt optimiser nearest to its rule instead, for example "
        "lookahead=torchopt.rmsprop(lr=...), or leave lookahead out, which is plain SGD."
    )
    if inside is given and not kin:
        advice += " If it is a wrapper, pass the optimiser that it holds."
    return (
        f"a live look-ahead must be torch.optim.SGD, Adam or AdamW, or a wrapper that holds one as "
        f".optimizer; got {type(given).__name__}{holds}. {advice}"
    )


def _sgd(value: Tensor, gradient: Tensor, group: _Group, state: _State) -> tuple[Tensor, _State]:
    gradient = -gradient if group["maximize"] else gradient
    gradient = gradient + group["weight_decay"] * value
    if group["momentum"]:
        buffer = state.get("momentum_buffer")
        buffer = (
            gradient
            if buffer is None
            else group["momentum"] * buffer + (1 - group["dampening"]) * gradient
        )
        state = {"momentum_buffer": buffer}
        gradient = gradient + group["momentum"] * buffer if group["nesterov"] else buffer
    return value - group["lr"] * gradient, state


def _adam(value: Tensor, gradient: Tensor, group: _Group, state: _State) -> tuple[Tensor, _State]:
    gradient = -gradient if group["maximize"] else gradient
    if group["decoupled_weight_decay"]:
        value = value * (1 - group["lr"] * group["weight_decay"])
    else:
        gradient = gradient + group["weight_decay"] * value
    beta1, beta2 = group["betas"]
    zero = torch.zeros_like(value)
    count = float(state.get("step", 0)) + 1
    first = beta1 * state.get("exp_avg", zero) + (1 - beta1) * gradient
    second = beta2 * state.get("exp_avg_sq", zero) + (1 - beta2) * gradient.square()
    following = {"step": count, "exp_avg": first, "exp_avg_sq": second}
    if group["amsgrad"]:
        second = torch.maximum(state.get("max_exp_avg_sq", zero), second)
        following["max_exp_avg_sq"] = second
    scale = _square_root(second) / (1 - beta2**count) ** 0.5 + group["eps"]
    return value - group["lr"] / (1 - beta1**count) * first / scale, following


def _square_root(values: Tensor) -> Tensor:
    """Square root whose derivative at zero is zero."""
    positive = values > 0
    return torch.where(positive, values, 1.0).sqrt() * positive
