"""Telling a loader which pass over it begins, so that what shuffles by that number does."""

from __future__ import annotations

from typing import Any


def announce(loader: Any, number: int) -> None:
    """Call ``set_epoch(number)`` on the loader, or on its samplers and data set.

    ``DistributedSampler`` shuffles by that number alone: without it every pass is the same.
    """
    for part in _numbered(loader):
        part.set_epoch(number)


def epoch_of(loader: Any) -> int | None:
    """Return the number that ``loader`` has now, ``None`` if it does not say."""
    for part in _numbered(loader):
        epoch = getattr(part, "epoch", None)
        if isinstance(epoch, int):
            return epoch
    return None


def parts_of(loader: Any) -> list[Any]:
    """Return the loader and what it takes its order from, each once."""
    batches = getattr(loader, "batch_sampler", None)
    parts = [loader, getattr(loader, "sampler", None), batches, getattr(batches, "sampler", None)]
    found: list[Any] = []
    for part in parts:
        if part is not None and not any(part is known for known in found):
            found.append(part)
    return found


def _numbered(loader: Any) -> list[Any]:
    if callable(getattr(loader, "set_epoch", None)):
        return [loader]  # which tells its samplers itself
    parts = [*parts_of(loader), getattr(loader, "dataset", None)]
    return [part for part in parts if callable(getattr(part, "set_epoch", None))]
