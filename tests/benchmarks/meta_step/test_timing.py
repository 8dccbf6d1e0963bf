"""Interleaving, ratios, and errors as results."""

from __future__ import annotations

import gc
import itertools
import time
import weakref

import pytest
import torch

from benchmarks.meta_step.failure import OUT_OF_MEMORY, Failure, attempt, reason_of
from benchmarks.meta_step.timing import (
    OUT_OF_TIME,
    CudaClock,
    WallClock,
    above,
    interleaved,
    ratios,
)


class Ticks:
    """A clock by which the n-th step takes n seconds."""

    def __init__(self):
        self.count = 0

    def seconds(self, step):
        step()
        self.count += 1
        return float(self.count)


def test_every_step_runs_once_a_round_and_warm_rounds_do_not_count():
    calls = []
    builders = {name: lambda name=name: lambda: calls.append(name) for name in "abc"}
    seen = []
    times = interleaved(builders, 3, 2, Ticks(), progress=seen.append)
    assert len(calls) == 15
    assert all(sorted(calls[i : i + 3]) == list("abc") for i in range(0, 15, 3))
    assert seen == calls
    assert list(times.seconds) == list("abc")
    assert sorted(itertools.chain(*times.seconds.values())) == list(range(7, 16))
    assert not times.errors


def test_the_order_is_drawn_anew_each_round_and_is_the_seeds():
    def order(seed):
        calls = []
        builders = {name: lambda name=name: lambda: calls.append(name) for name in "abcdef"}
        interleaved(builders, 4, 0, Ticks(), seed=seed)
        return calls

    calls = order(0)
    assert order(0) == calls
    assert order(1) != calls
    assert calls[:6] != calls[6:12]


def test_a_step_that_fails_is_an_error_and_the_rest_go_on():
    held = []

    def out_of_memory():
        tensor = torch.zeros(8)
        held.append(weakref.ref(tensor))
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    def missing():
        raise ModuleNotFoundError("No module named 'higher'\nsecond line")

    runs = iter(range(9))

    def late():
        if next(runs) == 3:
            raise RuntimeError("a kernel gave up")

    builders = {
        "missing": missing,
        "oom": lambda: out_of_memory,
        "late": lambda: late,
        "good": lambda: lambda: None,
    }
    times = interleaved(builders, 4, 1, WallClock())
    assert times.errors == {
        "missing": "ModuleNotFoundError: No module named 'higher'",
        "oom": OUT_OF_MEMORY,
        "late": "RuntimeError: a kernel gave up",
    }
    assert {name: len(seconds) for name, seconds in times.seconds.items()} == {"good": 4}
    gc.collect()
    assert held[0]() is None  # what the failed step held is free


def limited(steps, rounds=5, warmup=1):
    """Times where so many steps of two may run."""
    left = iter([True] * steps)
    asked = []

    def go_on(whole):
        asked.append(whole)
        return next(left, False)

    builders = {name: lambda: lambda: None for name in "ab"}
    return interleaved(builders, rounds, warmup, Ticks(), go_on=go_on), asked


def test_out_of_time_whole_rounds_stay():
    times, asked = limited(2 + 2 + 5)
    assert {name: len(seconds) for name, seconds in times.seconds.items()} == {"a": 2, "b": 2}
    assert not times.errors
    assert asked == [0, 0, 0, 0, 0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize("steps", [0, 1, 2, 3, 4, 5])
def test_out_of_time_before_a_whole_round_is_an_error_of_each(steps):
    times, _ = limited(steps)
    assert times.errors == dict.fromkeys("ab", OUT_OF_TIME)
    assert not times.seconds


def test_an_interruption_is_not_a_result():
    def interrupted():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interleaved({"a": lambda: interrupted}, 1, 0, WallClock())


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (torch.OutOfMemoryError("CUDA out of memory."), OUT_OF_MEMORY),
        (MemoryError(), OUT_OF_MEMORY),
        (RuntimeError("[x] DefaultCPUAllocator: can't allocate memory: you tried"), OUT_OF_MEMORY),
        (NotImplementedError("\n first \n second"), "NotImplementedError: first"),
        (AssertionError(), "AssertionError"),
    ],
)
def test_reasons_are_one_line(error, reason):
    assert reason_of(error) == reason


def test_an_attempt_returns_what_it_can():
    assert attempt(lambda: 3) == 3
    assert attempt(lambda: [][0]) == Failure("IndexError: list index out of range")


def test_cuda_is_timed_by_events_on_an_idle_stream():
    log = []

    class Event:
        def __init__(self, *, enable_timing):
            assert enable_timing

        def record(self):
            log.append("record")

        def elapsed_time(self, end):
            assert isinstance(end, Event)
            log.append("read")
            return 250.0

    clock = CudaClock(torch.device("cuda"), Event, lambda device: log.append(device.type))
    assert clock.seconds(lambda: log.append("step")) == 0.25
    assert log == ["cuda", "record", "step", "record", "cuda", "read"]


def test_the_wall_clock_measures_the_step():
    assert WallClock().seconds(lambda: time.sleep(0.02)) >= 0.02


def test_ratios_and_what_is_above_the_floor_are_taken_round_by_round():
    assert ratios([2.0, 9.0], [1.0, 3.0]) == [2.0, 3.0]
    assert above([4.0, 9.0], [2.0, 6.0], [1.0, 3.0]) == [2.0, 1.0]
