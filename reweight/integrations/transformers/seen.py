"""The mean weight that each row, or each of its tokens, had over a training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from reweight.step import ReweightedStep

_HELD = 64  # steps, before what they said is brought to the CPU, at one wait for the device


class SeenWeights:
    """Sums of weights by row, or by row and token, and how often each was seen.

    Weights are taken as multiples of the mean weight of their batch, so that batches of any size
    add up: 1 is what equal weights give.

    Args:
        count: How many rows there are.
    """

    def __init__(self, count: int) -> None:
        self._sums = torch.zeros(count, 1)
        self._times = torch.zeros(count, 1)
        self._lengths = torch.zeros(count, dtype=torch.long)
        self._held: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []

    def add(self, rows: list[int], step: ReweightedStep, tokens: Tensor | None) -> None:
        """Take in the weights of a step.

        Args:
            rows: Of each sample.
            step: Its weights, ``(C,)``; ``(C, T)`` of tokens, or ``(C, T − 1)`` of the next ones.
            tokens: Which places of the batch hold a row's own tokens, ``(C, T)``; ``None``: all.
                Where weights are of something else than tokens nothing is taken in.
        """
        weights = step.weights.detach()
        counted = step.losses.isfinite()
        if step.counted is not None:
            counted = counted & step.counted
        relative = weights * counted.sum()
        if weights.dim() == 1:
            relative, counted = relative.unsqueeze(1), counted.unsqueeze(1)
            own = torch.ones_like(counted)
        elif weights.dim() == 2 and tokens is not None:
            own = tokens.to(weights.device, torch.bool)
            shift = own.shape[1] - weights.shape[1]
            if shift not in (0, 1):
                return
            relative, counted = pad(relative, (shift, 0)), pad(counted, (shift, 0))
            # What is a row's own goes in front of what is padding, in its order.
            order = (~own).to(torch.int8).argsort(dim=1, stable=True)
            relative, counted = relative.gather(1, order), counted.gather(1, order)
        else:
            return
        self._held.append((torch.tensor(rows), relative, counted, own.sum(dim=1)))
        if len(self._held) >= _HELD:
            self._settle()

    def _settle(self) -> None:
        held, self._held = self._held, []
        for rows, relative, counted, lengths in held:
            times = counted.to("cpu", torch.float32)
            values = torch.where(times > 0, relative.to("cpu", torch.float32), 0.0)
            width = values.shape[1]
            more = max(width - self._sums.shape[1], 0)
            self._sums, self._times = pad(self._sums, (0, more)), pad(self._times, (0, more))
            self._sums[:, :width].index_add_(0, rows, values)
            self._times[:, :width].index_add_(0, rows, times)
            self._lengths[rows] = lengths.to("cpu")

    def by_row(self) -> list[float | None]:
        """Return the mean weight of each row; ``None`` where it was never seen."""
        self._settle()
        sums, times = self._sums.sum(dim=1).tolist(), self._times.sum(dim=1).tolist()
        return [s / n if n else None for s, n in zip(sums, times, strict=True)]

    def by_token(self) -> list[list[float] | None]:
        """Return of each row the mean weight of each of its tokens, as the model is given them.

        0 where no loss is of a token, such as the first; ``None`` for a row that was never seen.
        """
        self._settle()
        means = (self._sums / self._times.clamp(min=1)).tolist()
        return [
            mean[:length] if length else None
            for mean, length in zip(means, self._lengths.tolist(), strict=True)
        ]

    def state_dict(self) -> dict[str, Any]:
        """Return sums, counts and lengths."""
        self._settle()
        return {"sums": self._sums, "times": self._times, "lengths": self._lengths}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take what :meth:`state_dict` returned.

        Raises:
            ValueError: If it is of another number of rows.
        """
        if len(state["lengths"]) != len(self._lengths):
            raise ValueError(
                f"the checkpoint is of a train_dataset of {len(state['lengths'])} rows, and this "
                f"one has {len(self._lengths)}."
            )
        self._held = []
        self._sums, self._times = state["sums"].clone(), state["times"].clone()
        self._lengths = state["lengths"].clone()
