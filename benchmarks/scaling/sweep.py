"""Times along one axis, a point at a time, until a method no longer fits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import torch

from benchmarks.meta_step.failure import OUT_OF_MEMORY, Failure, attempt, release_memory
from benchmarks.meta_step.methods import METHODS
from benchmarks.meta_step.problem import Problem, Step
from benchmarks.meta_step.timing import Clock, clock_for, interleaved
from benchmarks.scaling.axes import Axis
from benchmarks.scaling.room import Room


@dataclass
class Point:
    """What was measured at one value of an axis.

    Attributes:
        axis: The axis' name.
        value: Of the quantity that is varied.
        seconds: One for each round, by method.
        notes: Why a method has none, here and at all larger values.
        needed_kib: By how much resident memory rose, by method; what larger values are foreseen by.
    """

    axis: str
    value: int
    seconds: dict[str, list[float]] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    needed_kib: dict[str, float] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return the attributes by name."""
        return asdict(self)


class Sweep:
    """Measures the points of one axis, which are to be asked for in ascending order.

    The methods of a point share one problem, so that memory holds one model at a time.

    Args:
        name: The axis' name.
        axis: The axis.
        device: Where to run.
        rounds: Interleaved rounds that count, after one that does not.
        seed: Of weights, data and the order of steps.
        room: Foresees what fits; on CUDA it is not asked.
        clock: Takes the times; the device's own if ``None``.
    """

    def __init__(
        self,
        name: str,
        axis: Axis,
        device: torch.device,
        rounds: int,
        seed: int,
        *,
        room: Room | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._name = name
        self._axis = axis
        self._device = device
        self._rounds = rounds
        self._seed = seed
        self._room = room or Room()
        self._clock = clock or clock_for(device)

    def point(self, value: int, methods: Sequence[str]) -> Point:
        """Return times at ``value`` for those of ``methods`` that fit."""
        point = Point(self._name, value)
        made: list[Problem] = []

        def make() -> None:
            made.append(self._axis.build(value, self._device, self._seed))

        failure = attempt(partial(self._within_room, "the problem itself", value, make))
        if isinstance(failure, Failure):
            point.notes = dict.fromkeys(methods, _bare(failure))
            release_memory()
            return point
        builders = {name: partial(self._warm, name, value, made[0]) for name in methods}
        times = interleaved(builders, self._rounds, 0, self._clock, seed=self._seed)
        point.seconds = times.seconds
        point.notes = {name: _bare(Failure(reason)) for name, reason in times.errors.items()}
        point.needed_kib = self._room.needed_at(value)
        made.clear()
        builders.clear()
        release_memory()
        return point

    def recall(self, point: Point) -> None:
        """Foresee by a point that an earlier run has measured."""
        for name, kib in point.needed_kib.items():
            self._room.remember(name, point.value, kib)

    def _warm(self, name: str, value: int, problem: Problem) -> Step:
        method = METHODS[name](problem)

        def step() -> None:
            try:
                method()
            except Exception:
                problem.optimizer.zero_grad()  # the next method has the same problem
                raise

        self._within_room(name, value, step)
        return step

    def _within_room(self, name: str, value: int, action: Callable[[], None]) -> None:
        if self._device.type == "cuda":
            action()
            return
        shortage = self._room.shortage(name, value)
        if shortage is not None:
            raise MemoryShortageError(shortage)
        self._room.measure(name, value, action)


class MemoryShortageError(Exception):
    """A step was not run because it is not expected to fit."""


def _bare(failure: Failure) -> str:
    reason = failure.reason
    return reason if reason == OUT_OF_MEMORY else reason.removeprefix("MemoryShortageError: ")
