"""Whether derivatives that add up no better than short products do so in full ones.

TF32, which cuDNN's convolutions have by default, rounds factors to 11 bits. Sums of such products
may be apart by a few per cent, and a part of the model that is lost may be as small.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import OutOfMemoryError, Tensor

from reweight._derivative.double_backward import double_backward
from reweight._derivative.forward import forward_mode
from reweight._derivative.identity import identity
from reweight._isolation.objective import Objective, Parameters
from reweight._isolation.short_products import products_in_full
from reweight._isolation.start import Start
from reweight.errors import NOT_THE_USERS, REFUSALS


def adds_up_in_full(
    take: Callable[[], Tensor],
    objective: Objective,
    batch: Any,
    direction: Parameters,
    start: Start,
) -> bool | None:
    """Return whether both sides, taken once more without short products, are the same.

    Args:
        take: Takes ⟨∇L_i, v⟩ once more.
        objective: The losses as a function of the parameters.
        batch: The noisy batch.
        direction: v by parameter name.
        start: What passes start from.

    Returns:
        ``None`` if that does not go: without cuDNN there is another kernel, which may want more
        memory, or have no such derivative.
    """
    try:
        with products_in_full():
            other = identity(objective, batch, direction, start)
            return other.holds(take())
    except OutOfMemoryError:
        return None
    except REFUSALS:
        raise
    except NOT_THE_USERS:
        return None


def once_more(
    way: str, objective: Objective, batch: Any, direction: Parameters, start: Start
) -> Tensor:
    """Return ⟨∇L_i, v⟩ by a pass of its own, ``way`` ``"double_backward"`` or forward mode."""
    if way == "double_backward":
        return double_backward(objective, batch, direction, start)
    return forward_mode(objective, batch, direction, start)[0]
