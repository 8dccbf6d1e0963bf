"""Rules under autocast."""

from __future__ import annotations

import torch

from reweight._derivative.beside_training.call import Call, NotCovered, Rule, Tangents
from reweight._torch_internals import any_autocast_enabled, record_gradients


def by_rule(rule: Rule, call: Call) -> Tangents:
    """Return what ``rule`` says of ``call``, not recorded; ``None`` where it does not cover it.

    Rules call the same operators under the same autocast. Casts of parameters are not kept
    meanwhile: without a graph they would be handed to the training pass's next operator.
    """
    recorded = torch.is_grad_enabled()
    record_gradients(False)
    try:
        if not any_autocast_enabled():
            return rule(call)
        kept = torch.is_autocast_cache_enabled()
        torch.set_autocast_cache_enabled(False)
        try:
            return rule(call)
        finally:
            torch.set_autocast_cache_enabled(kept)
    except NotCovered:
        return None
    finally:
        record_gradients(recorded)
