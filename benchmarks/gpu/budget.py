"""A limited time, shared by the cells that are left."""

from __future__ import annotations

import time
from collections.abc import Callable

_OVER = 3.0
"""A cell that has no three rounds yet may take so many times its share."""

_ROUNDS_THAT_SAY_SOMETHING = 3


class Budget:
    """Seconds that run from now on.

    Args:
        seconds: How many.
        least: A cell's share is never less, as long as there is time at all.
        clock: Tells the time.
    """

    def __init__(
        self, seconds: float, least: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._begun = clock()
        self._seconds = seconds
        self._least = least

    def spent(self) -> float:
        """Return the seconds since the beginning."""
        return self._clock() - self._begun

    def left(self) -> float:
        """Return the seconds that are left, 0 at least."""
        return max(0.0, self._seconds - self.spent())

    def share(self, cells_left: int) -> Share:
        """Return the next cell's share, where so many, itself among them, are left."""
        own = max(self._least, self.left() / max(1, cells_left))
        return Share(min(own, self.left()), min(_OVER * own, self.left()), self._clock)


class Share:
    """The time of one cell, from now on.

    Args:
        seconds: After these nothing begins, once there are a few rounds.
        at_most: After these nothing begins at all.
        clock: Tells the time.
    """

    def __init__(self, seconds: float, at_most: float, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._begun = clock()
        self.seconds = seconds
        self._at_most = at_most

    def spent(self) -> float:
        """Return the seconds since the beginning."""
        return self._clock() - self._begun

    def part(self, of: float) -> Share:
        """Return a share of the first part ``of`` this one's time, what is spent left out."""
        spent = self.spent()
        return Share(of * self.seconds - spent, of * self._at_most - spent, self._clock)

    def goes_on(self, whole_rounds: int) -> bool:
        """Whether something more may begin."""
        enough = whole_rounds >= _ROUNDS_THAT_SAY_SOMETHING
        return self.spent() < (self.seconds if enough else self._at_most)
