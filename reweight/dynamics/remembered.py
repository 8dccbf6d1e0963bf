"""What is remembered of the training of each sample."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from reweight._memory import Table
from reweight.dynamics.observed import NAMES, log_probabilities, observed
from reweight.dynamics.predictions import Predicted, Probabilities, from_state, predicted
from reweight.weightings import WeightingContext


class Remembered:
    """Means over the steps that an id was in.

    Attributes:
        num_samples: How many ids there are.
        max_bytes: How much the predicted probabilities may take.
        needs: What a step has to be told.
    """

    def __init__(self, num_samples: int, *, max_bytes: int = 256 * 2**20) -> None:
        if max_bytes < 0:
            raise ValueError(f"max_bytes must be an integer >= 0, got {max_bytes!r}.")
        self.num_samples = num_samples
        self.max_bytes = max_bytes
        self.needs: dict[str, int | None] = {"ids": num_samples}
        self._sums = Table(num_samples, (len(NAMES),))
        self._seen = torch.zeros(num_samples, device="cpu")
        self._last_weight = torch.full((num_samples,), float("nan"), device="cpu")
        self._given = torch.full((num_samples,), -1, dtype=torch.long, device="cpu")
        self._predicted: Predicted | None = None

    def learn(self, context: WeightingContext, weights: Tensor) -> None:
        """Take in a step; the reweighter calls it once the weights are known.

        Args:
            context: The N losses of the step, of all ranks.
            weights: ``(N,)``, each over what it would be if all were equal.
        """
        rows = context.ids
        assert rows is not None, "the reweighter asks for what is needed"
        if rows.numel() == 0:
            return
        self._to(rows.device)
        times = self._sums.times(rows)
        logs = log_probabilities(context)
        columns = observed(context, weights.detach(), logs)
        self._sums.add(rows, columns / times.unsqueeze(1))
        # Of a row that comes several times, all write the same.
        self._seen[rows] = self._seen[rows] + 1
        self._last_weight[rows] = 0.0
        self._last_weight.index_add_(0, rows, columns[:, NAMES.index("weight")] / times)
        labels = context.labels
        if labels is None:
            return
        self._given[rows] = labels
        several = torch.where(self._given[rows] != labels, -1, labels)
        self._given.scatter_reduce_(0, rows, several, "amin")
        if logs is not None:
            if self._predicted is None:
                self._predicted = predicted(self.num_samples, logs.shape[1], self.max_bytes)
            self._predicted.learn(rows, times, logs, labels)

    def _to(self, device: torch.device) -> None:
        if self._seen.device != device:
            self._seen, self._given = self._seen.to(device), self._given.to(device)
            self._last_weight = self._last_weight.to(device)

    @property
    def times_seen(self) -> Tensor:
        """In how many steps each id was, ``(num_samples,)`` int64."""
        return self._seen.long()

    @property
    def given_labels(self) -> Tensor:
        """The class given when it was last seen, ``(num_samples,)`` int64.

        -1: never seen, several in one step (a mask), or not known.
        """
        return self._given.clone()

    @property
    def mean_loss(self) -> Tensor:
        """``(num_samples,)``, NaN where never seen, as in all that follow."""
        return self._mean("loss", self._seen)

    @property
    def mean_margin(self) -> Tensor:
        """The logit of the class given less the largest other; NaN where that is not known."""
        return self._mean("margin", self._sum("labelled"))

    @property
    def given_probability(self) -> Tensor:
        """The geometric mean of the probability of the class given; NaN where not known."""
        return self._mean("log_probability", self._sum("predicted")).exp()

    @property
    def other_probability(self) -> Tensor:
        """The mean probability of the likeliest other class; NaN where not known."""
        return self._mean("other", self._sum("predicted"))

    @property
    def similarity(self) -> Tensor:
        """The sum of the standardised scores, above 0 where it helped; NaN without any."""
        return torch.where(self._sum("scored") > 0, self._sum("similarity"), float("nan"))

    @property
    def share_negative(self) -> Tensor:
        """In which share of the steps the score was below 0; NaN without any."""
        return self._mean("negative", self._sum("scored"))

    @property
    def mean_weight(self) -> Tensor:
        """The mean of the relative weights; 1 is a share like the average's."""
        return self._mean("weight", self._seen)

    @property
    def last_weight(self) -> Tensor:
        """The relative weight in the step it was last in."""
        return self._last_weight.clone()

    @property
    def mean_probabilities(self) -> Tensor | None:
        """``(num_samples, K)``; ``None`` if there were no logits, or they are beyond the limit."""
        if not isinstance(self._predicted, Probabilities):
            return None
        sums = self._predicted.table.values
        total = sums.sum(dim=1, keepdim=True)
        return torch.where(total > 0, sums / total, float("nan"))

    def _sum(self, name: str) -> Tensor:
        return self._sums.values[:, NAMES.index(name)]

    def _mean(self, name: str, count: Tensor) -> Tensor:
        return torch.where(count > 0, self._sum(name) / count, float("nan"))

    def state_dict(self) -> dict[str, Any]:
        """Return what is remembered, as plain containers and tensors."""
        return {
            "sums": self._sums.state_dict(),
            "seen": self._seen,
            "last_weight": self._last_weight,
            "given": self._given,
            "predicted": None if self._predicted is None else self._predicted.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take what :meth:`state_dict` returned.

        Raises:
            ValueError: If it is of another number of samples.
        """
        self._sums.load_state_dict(state["sums"])
        self._seen = state["seen"].detach().to(self._seen, copy=True)
        self._last_weight = state["last_weight"].detach().to(self._last_weight, copy=True)
        self._given = state["given"].detach().to(self._given, copy=True)
        found = state["predicted"]
        self._predicted = None if found is None else from_state(self.num_samples, found)
