"""Wrong labels as a network sees them that knows the trusted samples alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn
from typing_extensions import override

from benchmarks.trials.finding.measures import Found
from benchmarks.trials.finding.observer import Observer

if TYPE_CHECKING:
    from benchmarks.trials.training import Training


class TrustedAlone(Observer):
    """The loss of every label of the pool, in the epoch that was best on validation data."""

    @override
    def found(self, training: Training) -> dict[str, Found]:
        inputs, labels = training.problem.pool
        logits = training.best_logits(inputs)
        losses = nn.functional.cross_entropy(logits, labels, reduction="none")
        return {"trusted alone": Found(-losses, logits.argmax(dim=1))}
