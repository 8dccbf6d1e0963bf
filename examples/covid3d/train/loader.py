"""Draws the next batch while a step is computed."""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor

from examples.covid3d.train.patches import Draws, PatchBatch

# Shared by all samplers of the process; idle threads cost nothing.
_POOL = ThreadPoolExecutor(2, thread_name_prefix="draw")


class Ahead:
    """Wraps a sampler whose batches depend on their number alone, and draws one ahead.

    Args:
        sampler: What draws.

    Attributes:
        waited: Seconds that ``draw`` kept its caller waiting, the first batch not counted.
    """

    def __init__(self, sampler: Draws) -> None:
        self._sampler = sampler
        self._next: tuple[int, Future[PatchBatch]] | None = None
        self.waited = 0.0

    def draw(self, step: int) -> PatchBatch:
        """Gives batch ``step`` and starts on the one after it."""
        start = time.perf_counter()
        if self._next is not None and self._next[0] == step:
            batch = self._next[1].result()
            self.waited += time.perf_counter() - start
        else:
            batch = self._sampler.draw(step)
        self._next = (step + 1, _POOL.submit(self._sampler.draw, step + 1))
        return batch
