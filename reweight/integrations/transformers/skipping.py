"""A step of the optimiser in which no sample is kept moves nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments


class SkipEmptySteps(TrainerCallback):
    """Take the gradients away before such a step, so that momentum and decay move nothing either.

    A gradient of zero is not enough for that: an optimiser leaves alone what has none at all.

    Args:
        empty: Says whether no sample was kept since it was last asked.
    """

    def __init__(self, empty: Callable[[], bool]) -> None:
        self._empty = empty

    def on_pre_optimizer_step(
        self,
        args: TrainingArguments,  # noqa: ARG002 - as the Trainer calls it
        state: TrainerState,  # noqa: ARG002
        control: TrainerControl,  # noqa: ARG002
        model: nn.Module | None = None,
        **others: Any,  # noqa: ARG002
    ) -> None:
        """Take them away if nothing was kept."""
        if self._empty() and model is not None:
            model.zero_grad(set_to_none=True)
