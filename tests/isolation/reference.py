"""C + 1 backward passes, each on a copy of model and batch of its own."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from tests.device import random_state, set_random_state
from tests.oracle import flat
from tests.problems import per_sample


def similarity_on_copies(
    model: nn.Module, forward: Callable[[nn.Module, Any], Tensor], noisy: Any, trusted: Any
) -> Tensor:
    """Whatever a pass leaves in a model or a batch, the next one starts from fresh copies."""
    state = random_state()

    def gradient(batch: Any, which: int | None) -> tuple[Tensor, int]:
        set_random_state(state)
        twin, batch = copy.deepcopy((model, batch))
        parameters = [p for p in twin.parameters() if p.requires_grad]
        losses = per_sample(forward(twin, batch))
        value = losses.mean() if which is None else losses[which]
        found = torch.autograd.grad(value, parameters, allow_unused=True, materialize_grads=True)
        return flat([g.to_dense() for g in found]).detach(), len(losses)

    v, _ = gradient(trusted, None)
    rows = [gradient(noisy, 0)]
    rows += [gradient(noisy, i) for i in range(1, rows[0][1])]
    set_random_state(state)
    return torch.stack([row for row, _ in rows]) @ v
