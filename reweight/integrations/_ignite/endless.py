"""Trusted batches without end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from reweight.paired import paired


class _Nothing:
    """In place of the noisy loader, which the engine goes through itself."""

    def __iter__(self) -> Iterator[None]:
        while True:
            yield None

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """It is nowhere."""


class Endless:
    """The batches of a loader, which begins again, shuffled anew, whenever it ends.

    Args:
        loader: A ``DataLoader``, or anything that can be iterated over again and again.

    Raises:
        TypeError: If it cannot.
    """

    def __init__(self, loader: Iterable[Any]) -> None:
        self._pairs = paired(_Nothing(), loader)
        self._running: Iterator[tuple[None, Any]] | None = None

    def __iter__(self) -> Endless:
        return self

    def __next__(self) -> Any:
        if self._running is None:
            self._running = iter(self._pairs)
        return next(self._running)[1]

    def state_dict(self) -> dict[str, Any]:
        """Return where the loader stands."""
        return self._pairs.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there with the next batch."""
        self._running = None
        self._pairs.load_state_dict(state)
