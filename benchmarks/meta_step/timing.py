"""Times of several steps, interleaved in one run, so that a drifting machine hits all alike."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch

from benchmarks.meta_step.failure import Failure, attempt, release_memory
from benchmarks.meta_step.problem import Step, steps_in

OUT_OF_TIME = "out of time"


class Clock(Protocol):
    """Says how long a step takes."""

    def seconds(self, step: Step) -> float:
        """Run ``step`` once and return its seconds."""
        ...


class WallClock:
    """For steps that are over when they return."""

    def seconds(self, step: Step) -> float:
        """Run ``step`` once and return its seconds."""
        begun = time.perf_counter()
        step()
        return time.perf_counter() - begun


class CudaClock:
    """For steps that leave work behind on a CUDA stream: events, once the stream is idle.

    Args:
        device: Whose stream.
        event: Makes an event that can be timed.
        synchronize: Waits for all work on the device.
    """

    def __init__(
        self,
        device: torch.device,
        event: Callable[..., Any] = torch.cuda.Event,
        synchronize: Callable[[torch.device], None] = torch.cuda.synchronize,
    ) -> None:
        self._device = device
        self._event = event
        self._synchronize = synchronize

    def seconds(self, step: Step) -> float:
        """Run ``step`` once and return the seconds between its first and last kernel."""
        start, end = (self._event(enable_timing=True) for _ in range(2))
        self._synchronize(self._device)
        start.record()
        step()
        end.record()
        self._synchronize(self._device)
        return float(start.elapsed_time(end)) / 1000


def clock_for(device: torch.device) -> Clock:
    """Return the clock for steps on ``device``."""
    return CudaClock(device) if device.type == "cuda" else WallClock()


@dataclass
class Times:
    """Seconds by name, one for each round; why a step has none, by name."""

    seconds: dict[str, list[float]] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)


def interleaved(
    builders: Mapping[str, Callable[[], Step]],
    rounds: int,
    warmup: int,
    clock: Clock,
    *,
    seed: int = 0,
    progress: Callable[[str], None] = lambda name: None,  # noqa: ARG005
    go_on: Callable[[int], bool] = lambda whole_rounds: True,  # noqa: ARG005
) -> Times:
    """Run every step once a round, in an order drawn anew for each round.

    A step that fails, or cannot be built, is left out from then on and its memory is given back.

    Args:
        builders: Return the step, by name.
        rounds: Rounds that count.
        warmup: Rounds before them that do not.
        clock: Takes the time.
        seed: Of the order: what runs before a step leaves it a warm or a cold cache.
        progress: Called with the name after each step.
        go_on: Asked before anything is built or run, with the number of whole rounds that count;
            where it says no, whole rounds stay, and a step without one has :data:`OUT_OF_TIME`.

    Returns:
        The times, those of a :class:`Cycle` per step, and the errors, in the order of
        ``builders``.
    """
    times = Times()
    steps: dict[str, Step] = {}
    for name, build in builders.items():
        if not go_on(0):
            times.errors[name] = OUT_OF_TIME
            continue
        built = attempt(build)
        if isinstance(built, Failure):
            times.errors[name] = built.reason
            release_memory()
        else:
            steps[name] = built
            times.seconds[name] = []
    order = random.Random(seed)
    for number in range(warmup + rounds):
        for name in order.sample(list(steps), len(steps)):
            if not go_on(max(0, number - warmup)):
                return _whole_rounds(times)
            taken = attempt(lambda step=steps[name]: clock.seconds(step))  # type: ignore[misc]
            if isinstance(taken, Failure):
                times.errors[name] = taken.reason
                del steps[name], times.seconds[name]
                release_memory()
            elif number >= warmup:
                times.seconds[name].append(taken / steps_in(steps[name]))
            progress(name)
    return times


def _whole_rounds(times: Times) -> Times:
    whole = min(map(len, times.seconds.values()), default=0)
    for name, seconds in list(times.seconds.items()):
        del seconds[whole:]
        if not whole:
            del times.seconds[name]
            times.errors[name] = OUT_OF_TIME
    return times


def ratios(times: list[float], reference: list[float]) -> list[float]:
    """Return the ratio to the reference round by round."""
    return [own / other for own, other in zip(times, reference, strict=True)]


def above(times: list[float], floor: list[float], reference: list[float]) -> list[float]:
    """Return what is above the floor, in units of the reference, round by round."""
    return ratios([own - other for own, other in zip(times, floor, strict=True)], reference)
