"""The batch that fills the device: doubled until the next one would not fit, or take too long."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import torch

from benchmarks.meta_step.failure import Failure, attempt, release_memory
from benchmarks.meta_step.methods import settled
from benchmarks.meta_step.models import Setup, build_problem
from benchmarks.meta_step.timing import OUT_OF_TIME, clock_for

METHOD = "default"
"""It has to fit; what needs more memory than this may not, which is a result."""

_MEMORY = 0.8
_STEPS = 2


@dataclass(frozen=True)
class Trial:
    """One step at one batch.

    Attributes:
        seconds: How long it took.
        peak: Peak of the allocator in bytes, all that is held included; 0 where none counts.
    """

    seconds: float
    peak: int


class Trials(Protocol):
    """Says what a step takes at a batch."""

    def __call__(self, batch: int) -> Trial:
        """Run some steps at this batch."""
        ...


@dataclass(frozen=True)
class Filling:
    """What was found.

    Attributes:
        model: Whose batch.
        batch: Noisy samples, and as many trusted ones.
        why: Why it is not larger.
    """

    model: str
    batch: int
    why: str

    def as_json(self) -> dict[str, Any]:
        """Return the attributes by name."""
        return asdict(self)


def fill(
    model: str,
    batch: int,
    trial: Trials,
    *,
    memory: int | None,
    longest: float,
    largest: int,
    go_on: Callable[[], bool] = lambda: True,
) -> Filling:
    """Return the batch that fills the device.

    Args:
        model: Its name, for the result.
        batch: Where to begin.
        trial: Says what a step takes.
        memory: Of the device in bytes; ``None`` where it is not counted.
        longest: Seconds that a step may take.
        largest: Samples that a batch may have.
        go_on: Asked before each further trial.
    """
    found = attempt(lambda: trial(batch))
    if isinstance(found, Failure):
        return Filling(model, batch, found.reason)
    while True:
        why = _reason_to_stop(found, batch, memory, longest, largest)
        if why is None and not go_on():
            why = OUT_OF_TIME
        if why is not None:
            return Filling(model, batch, why)
        larger = attempt(lambda: trial(2 * batch))  # noqa: B023 - called at once
        if isinstance(larger, Failure):
            release_memory()
            return Filling(model, batch, f"{2 * batch}: {larger.reason}")
        found, batch = larger, 2 * batch


def _reason_to_stop(
    found: Trial, batch: int, memory: int | None, longest: float, largest: int
) -> str | None:
    if memory and 2 * found.peak > _MEMORY * memory:
        return f"{2 * batch} would need about {2 * found.peak / 2**30:.0f} GiB"
    if 2 * found.seconds > longest:
        return f"a step of {2 * batch} would take longer than {longest:g} s"
    if 2 * batch > largest:
        return f"no more than {largest} samples are tried"
    return None


def trials(setup: Callable[[int], Setup], device: torch.device) -> Trials:
    """Return what runs the steps of :data:`METHOD` on ``device``."""
    clock = clock_for(device)
    on_cuda = device.type == "cuda"

    def trial(batch: int) -> Trial:
        release_memory()
        if on_cuda:
            torch.cuda.reset_peak_memory_stats(device)
        step = settled(METHOD, build_problem(setup(batch)))
        seconds = [clock.seconds(step) for _ in range(_STEPS)][-1]
        return Trial(seconds, torch.cuda.max_memory_allocated(device) if on_cuda else 0)

    return trial
