"""All the measurements of one setup."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial

import torch
from tqdm import tqdm

from benchmarks.meta_step.failure import Failure
from benchmarks.meta_step.memory_process import peak_in_own_process
from benchmarks.meta_step.methods import settled
from benchmarks.meta_step.models import Setup, build_problem, describe
from benchmarks.meta_step.problem import Step
from benchmarks.meta_step.summary import Measurement
from benchmarks.meta_step.timing import clock_for, interleaved

_WARMUP = 2


def _step(method: str, setup: Setup) -> Step:
    return settled(method, build_problem(setup))


def measure(
    setup: Setup, methods: Sequence[str], rounds: int, *, memory: bool, own_allocator: bool
) -> Measurement:
    """Return peaks, each from a process of its own, and times, all from this one.

    Args:
        setup: What to measure on. Each method has a model of its own, equal at the start.
        methods: Names in :data:`METHODS`.
        rounds: Interleaved rounds that count.
        memory: Whether to measure peaks.
        own_allocator: Leave the C library's allocator as it is for them.
    """
    parameters = sum(p.numel() for p in build_problem(setup).module.parameters())
    measured = Measurement(describe(setup, parameters), setup.as_json(), list(methods))
    if memory:
        for method in tqdm(methods, f"{setup.model}: peak memory", file=sys.stderr):
            peak = peak_in_own_process(method, setup, own_allocator=own_allocator)
            if isinstance(peak, Failure):
                measured.memory_errors[method] = peak.reason
            else:
                measured.peaks[method] = peak
    builders = {method: partial(_step, method, setup) for method in methods}
    total = (_WARMUP + rounds) * len(methods)
    with tqdm(total=total, desc=f"{setup.model}: steps", file=sys.stderr) as bar:
        times = interleaved(
            builders,
            rounds,
            _WARMUP,
            clock_for(torch.device(setup.device)),
            seed=setup.seed,
            progress=lambda _: bar.update() and None,
        )
    measured.seconds, measured.time_errors = times.seconds, times.errors
    return measured
