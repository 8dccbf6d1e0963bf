"""Shuffled batches of rows that lie in memory."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor


class ShuffledBatches:
    """Batches ``(x, y, rows)`` of some rows, in a new order at each pass.

    The parts are as equal as can be, at most ``size`` rows each: a rest of one row, on which batch
    normalisation fails and which judges badly, does not come about.

    Args:
        x: ``(N, ...)``.
        y: ``(N,)``.
        rows: ``(M,)``, which of the N are handed out.
        size: The most rows of a batch.
        generator: Where the order comes from.
        device: Where ``x`` and ``y`` go; ``rows`` stay on the CPU.
    """

    def __init__(
        self,
        x: Tensor,
        y: Tensor,
        rows: Tensor,
        size: int,
        generator: torch.Generator,
        device: torch.device,
    ) -> None:
        self._x, self._y, self._rows = x, y, rows
        self._device = device
        self._count = -(-len(rows) // size)
        self.generator: torch.Generator = generator

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        order = torch.randperm(len(self._rows), generator=self.generator, device="cpu")
        for rows in self._rows[order].tensor_split(self._count):
            yield self._x[rows].to(self._device), self._y[rows].to(self._device), rows
