"""Rules under autocast."""

from __future__ import annotations

import torch

from reweight._derivative.beside_training.call import Call, NotCovered, Rule, Tangents


def by_rule(rule: Rule, call: Call) -> Tangents:
    """Return what ``rule`` says of ``call``, not recorded; ``None`` where it does not cover it.

    Rules call the same operators under the same autocast. Casts of parameters are not kept
    meanwhile: without a graph they would be handed to the training pass's next operator.
    """
    with torch.no_grad():
        try:
            device = next(iter(call.tangents.values())).device.type
            if not torch.is_autocast_enabled(device):
                return rule(call)
            kept = torch.is_autocast_cache_enabled()
            torch.set_autocast_cache_enabled(False)
            try:
                return rule(call)
            finally:
                torch.set_autocast_cache_enabled(kept)
        except NotCovered:
            return None
