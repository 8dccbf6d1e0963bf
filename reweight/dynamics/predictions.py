"""The classes that a model predicts of each row, over a training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor

from reweight._memory import Table


class Predicted(Protocol):
    """Which class a row most likely has, if not the one given.

    Attributes:
        classes: How many classes there are.
    """

    classes: int

    def learn(self, rows: Tensor, times: Tensor, logs: Tensor, labels: Tensor) -> None:
        """Take in the log-probabilities of a step.

        Args:
            rows: ``(N,)`` int64.
            times: ``(N,)``, how often each row comes.
            logs: ``(N, K)``.
            labels: ``(N,)``, the class given, -1 where there is none.
        """
        ...

    def other(self, given: Tensor) -> Tensor:
        """Return the likeliest class of each row but ``given``, ``(rows,)``; -1: not known."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Return tensors."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take what :meth:`state_dict` returned."""
        ...


class Probabilities:
    """The sum of the predicted probabilities of every row, ``(rows, K)``."""

    def __init__(self, rows: int, classes: int) -> None:
        self.classes = classes
        self.table: Table = Table(rows, (classes,))

    def learn(self, rows: Tensor, times: Tensor, logs: Tensor, labels: Tensor) -> None:
        """Add the probabilities of a step, the mean over a row's losses in it."""
        del labels
        self.table.add(rows, logs.exp().nan_to_num(0.0) / times.unsqueeze(1))

    def other(self, given: Tensor) -> Tensor:
        """Return the class with the largest mean probability, other than ``given``."""
        sums = self.table.values
        hidden = sums.scatter(1, given.to(sums.device).clamp(min=0).unsqueeze(1), -1.0)
        largest = torch.where(given.to(sums.device).unsqueeze(1) >= 0, hidden, sums).max(dim=1)
        return largest.indices.masked_fill(largest.values <= 0, -1)

    def state_dict(self) -> dict[str, Any]:
        """Return the sums."""
        return {"sums": self.table.values}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take what :meth:`state_dict` returned."""
        self.table.load_state_dict({"values": state["sums"]})


class LikeliestOther:
    """One class a row, and how far it leads, where ``(rows, K)`` would be too much.

    The majority vote of Boyer and Moore (1981) with probabilities for votes: in each step the
    likeliest class other than the one given votes for itself. A class with more than half of the
    votes is found for certain; of a closer race, one that led late.
    """

    def __init__(self, rows: int, classes: int) -> None:
        self.classes = classes
        self._lead = Table(rows)
        self._class = torch.full((rows,), -1, dtype=torch.long, device="cpu")
        self._first = torch.zeros(rows, dtype=torch.long, device="cpu")

    def learn(self, rows: Tensor, times: Tensor, logs: Tensor, labels: Tensor) -> None:
        """Take in a step; of a row with several losses one of them votes."""
        del times
        chances = logs.exp().nan_to_num(0.0)
        hidden = chances.scatter(1, labels.clamp(min=0).unsqueeze(1), -1.0)
        votes, classes = torch.where(labels.unsqueeze(1) >= 0, hidden, chances).max(dim=1)
        lead = self._lead.on(rows.device)
        if self._class.device != rows.device:
            self._class, self._first = self._class.to(rows.device), self._first.to(rows.device)
        # Whoever of a row's losses is written last votes, and all of them write the same then.
        self._first[rows] = torch.arange(len(rows), device=rows.device)
        voter = self._first[rows]
        votes, classes = votes[voter], classes[voter]
        same = self._class[rows] == classes
        after = torch.where(same, lead[rows] + votes, lead[rows] - votes)
        self._class[rows] = torch.where(after < 0, classes, self._class[rows])
        lead[rows] = after.abs()

    def other(self, given: Tensor) -> Tensor:
        """Return the class that leads; -1 where it is the one given, or there is none."""
        leading = self._class
        return leading.masked_fill(leading == given.to(leading.device), -1)

    def state_dict(self) -> dict[str, Any]:
        """Return the classes and their leads."""
        return {"leading": self._class, "lead": self._lead.values, "classes": self.classes}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take what :meth:`state_dict` returned."""
        self._lead.load_state_dict({"values": state["lead"]})
        self._class = state["leading"].detach().to(self._class, copy=True)


def predicted(rows: int, classes: int, limit: int) -> Predicted:
    """Return what remembers predictions in at most ``limit`` bytes, if it can be had in them."""
    kind = Probabilities if 4 * rows * classes <= limit else LikeliestOther
    return kind(rows, classes)


def from_state(rows: int, state: Mapping[str, Any]) -> Predicted:
    """Return what :meth:`Predicted.state_dict` was of."""
    found: Predicted = (
        Probabilities(rows, state["sums"].shape[-1])
        if "sums" in state
        else LikeliestOther(rows, state["classes"])
    )
    found.load_state_dict(state)
    return found
