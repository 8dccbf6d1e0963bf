"""A stream of random numbers for every purpose, whatever ran before it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


def seed_for(seed: int, purpose: str) -> int:
    """Return a seed below 2⁶³ that depends on both arguments alone."""
    digest = hashlib.sha256(f"{seed}/{purpose}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def generator(seed: int, purpose: str) -> torch.Generator:
    """Return a new generator for one purpose of one seed."""
    return torch.Generator().manual_seed(seed_for(seed, purpose))


@contextmanager
def global_seed(seed: int, purpose: str) -> Iterator[None]:
    """Seed the global stream, which initial weights are drawn from, and put it back after."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed_for(seed, purpose))
        yield


def balanced_batches(labels: Tensor, size: int, stream: torch.Generator) -> Iterator[Tensor]:
    """Yield indices of batches without end, of each class as many but for chance.

    Args:
        labels: ``(n,)``.
        size: Samples per batch; at most n.
        stream: Where they come from.

    Yields:
        ``(min(size, n),)`` indices, drawn with replacement.
    """
    rarity = 1 / labels.bincount()[labels].double()
    while True:
        yield torch.multinomial(rarity, min(size, len(labels)), True, generator=stream)


def batches(count: int, size: int, stream: torch.Generator) -> Iterator[Tensor]:
    """Yield indices of batches without end, reshuffling ``count`` samples on every round.

    A batch that a round cannot fill goes on with the next round, so that all have one size.

    Args:
        count: Number of samples.
        size: Samples per batch; of a smaller set, every batch is the whole set.
        stream: Where the order comes from.

    Yields:
        ``(min(size, count),)`` indices.
    """
    size = min(size, count)
    waiting = torch.empty(0, dtype=torch.long)
    while True:
        while len(waiting) < size:
            waiting = torch.cat([waiting, torch.randperm(count, generator=stream)])
        batch, waiting = waiting[:size], waiting[size:]
        yield batch
