"""A rule's tangent in the precision of what it is the tangent of.

Under autocast an operator returns a narrower number than it was given. Rules call the same
operators under the same autocast, and sums within them may still be of a wider one.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from reweight._derivative.beside_training.call import Call


def by_rule(rule: Callable[[Call], Tensor | None], call: Call) -> Tensor | None:
    """Return what ``rule`` says of ``call``, not recorded, in the dtype of the operator's output.

    Casts of parameters are not kept meanwhile: without a graph they would be handed to the
    training pass's next operator.
    """
    out = call.out
    with torch.no_grad():
        if not isinstance(out, Tensor) or not torch.is_autocast_enabled(out.device.type):
            return rule(call)
        kept = torch.is_autocast_cache_enabled()
        torch.set_autocast_cache_enabled(False)
        try:
            tangent = rule(call)
        finally:
            torch.set_autocast_cache_enabled(kept)
        return None if tangent is None else tangent.to(out.dtype)
