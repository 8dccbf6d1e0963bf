"""A training run to look on at."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

Batch = tuple[Tensor, Tensor]


@dataclass(frozen=True, eq=False)
class Task:
    """A network, how it trains, and the batches it meets.

    Attributes:
        what: One line for the report.
        model: The network.
        loss: One loss per sample.
        optimizer: Of the network's parameters.
        batches: Yields, without end, a noisy batch, a trusted one, and another trusted one that
            shares no sample with the first.
    """

    what: str
    model: nn.Module
    loss: Callable[[Tensor, Tensor], Tensor]
    optimizer: torch.optim.Optimizer
    batches: Iterator[tuple[Batch, Batch, Batch]]


def draws(
    noisy: Batch, trusted: Batch, size: int, seed: int
) -> Iterator[tuple[Batch, Batch, Batch]]:
    """Draw batches of ``size`` samples at random.

    Raises:
        ValueError: If there are not two disjoint trusted batches of that size.
    """
    count = len(trusted[1])
    if count < 2 * size:
        raise ValueError(f"two trusted batches of {size} take {2 * size} samples, not {count}.")
    stream = torch.Generator().manual_seed(seed)
    while True:
        chosen = torch.randperm(len(noisy[1]), generator=stream)[:size]
        order = torch.randperm(count, generator=stream)
        yield _at(noisy, chosen), _at(trusted, order[:size]), _at(trusted, order[size : 2 * size])


def _at(samples: Batch, indices: Tensor) -> Batch:
    return samples[0][indices], samples[1][indices]
