"""What looks on while a network trains, and says at the end which labels are wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from benchmarks.trials.finding.measures import Found

if TYPE_CHECKING:
    from benchmarks.trials.training import Training


class Observer:
    """Base of those who look on; it sees nothing.

    Attributes:
        options: Further arguments of the reweighter.
    """

    options: Mapping[str, Any] = {}

    def after_step(self, chosen: Tensor, logits: Tensor) -> None:
        """See which samples of the pool a plain step had, ``(C,)``, and its logits, ``(C, K)``."""

    def after_epoch(self, model: nn.Module, epoch: int, rate: float) -> None:
        """See the network after an epoch, from 0, and the learning rate it had."""

    def found(self, training: Training) -> dict[str, Found]:
        """Return what is found, by the name of the way."""
        del training
        return {}
