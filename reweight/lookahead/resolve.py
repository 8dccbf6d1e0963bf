"""From what a user passes as ``lookahead=`` to a look-ahead."""

from __future__ import annotations

from typing import Any

from torch.optim import Optimizer

from reweight.lookahead.live_optimizer import LiveOptimizer
from reweight.lookahead.protocol import Lookahead
from reweight.lookahead.sgd import SGD
from reweight.lookahead.torchopt_optimizer import TorchOptLookahead
from reweight.lookahead.wrapped_optimizer import held

LookaheadLike = Any
"""``None``, a :class:`Lookahead`, a TorchOpt optimiser or a live ``torch.optim`` optimiser."""


def as_lookahead(value: LookaheadLike) -> Lookahead:
    """Return the look-ahead that ``value`` stands for.

    Args:
        value: ``None`` (plain SGD), a look-ahead, a TorchOpt gradient transformation or a live
            ``torch.optim`` SGD, Adam or AdamW, which a wrapper may hold.

    Raises:
        TypeError: If it is none of these.
        ValueError: If a wrapper's optimiser has only some of the wrapper's parameters.

    Example:
        >>> from torch import nn, optim
        >>> from reweight.lookahead import as_lookahead
        >>> as_lookahead(None), as_lookahead(optim.Adam(nn.Linear(2, 1).parameters()))
        (SGD(lr=1.0), LiveOptimizer(Adam))
    """
    if value is None:
        return SGD()
    if isinstance(value, Optimizer):
        return LiveOptimizer(value)
    if hasattr(value, "start") and hasattr(value, "update"):
        lookahead: Lookahead = value
        return lookahead
    if hasattr(value, "init") and hasattr(value, "update"):
        return TorchOptLookahead(value)
    if held(value) is not None:
        return LiveOptimizer(value)
    raise TypeError(
        f"lookahead must be reweight.lookahead.SGD, a TorchOpt optimiser such as "
        f"torchopt.adam(lr=1e-3, eps_root=1e-8), or a live torch.optim SGD, Adam or AdamW; "
        f"got {type(value).__name__}."
    )
