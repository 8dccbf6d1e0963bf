"""All that is measured of one cell."""

from __future__ import annotations

import statistics
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import torch

from benchmarks.gpu.budget import Share
from benchmarks.gpu.waiting import busy_seconds, synchronisations
from benchmarks.meta_step.failure import (
    Failure,
    attempt,
    reason_of,
    release_memory,
)
from benchmarks.meta_step.memory import Peak, cuda_peak_of, held_on_cuda
from benchmarks.meta_step.memory_process import peak_in_own_process
from benchmarks.meta_step.methods import settled
from benchmarks.meta_step.models import Setup, build_problem, describe
from benchmarks.meta_step.problem import Step
from benchmarks.meta_step.summary import Measurement
from benchmarks.meta_step.timing import OUT_OF_TIME, clock_for, interleaved

_FOR_TIMES = 0.7
_MOST_NOTES = 8


@dataclass(frozen=True)
class Plan:
    """How thoroughly to measure.

    Attributes:
        rounds: Interleaved rounds that count, at most.
        warmup: Rounds before them that do not.
        memory: Whether peaks are measured where the device has no allocator that counts them.
    """

    rounds: int
    warmup: int
    memory: bool


@dataclass
class Found:
    """What was found of one cell.

    Attributes:
        measured: Times and peaks.
        syncs: Synchronisations a step, by method.
        busy: Share of the step in which the device is at work, by method.
        wait_errors: Why a method lacks the two.
        notes: What was warned of, each once.
        seconds: How long it all took.
    """

    measured: Measurement
    syncs: dict[str, float] = field(default_factory=dict)
    busy: dict[str, float] = field(default_factory=dict)
    wait_errors: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def short(self) -> bool:
        """Whether something is missing for want of time alone."""
        errors = (self.measured.time_errors, self.measured.memory_errors, self.wait_errors)
        return any(OUT_OF_TIME in each.values() for each in errors)

    @property
    def known(self) -> int:
        """How many figures there are."""
        probed = len(self.measured.peaks) + len(self.syncs) + len(self.busy)
        return len(self.measured.seconds) + probed

    def as_json(self) -> dict[str, Any]:
        """Return the attributes by name, all plain containers."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Found:
        """Return what :meth:`as_json` was called on."""
        return cls(**{**content, "measured": Measurement.from_json(content["measured"])})


def measure(setup: Setup, methods: Sequence[str], plan: Plan, share: Share) -> Found:
    """Return what can be measured within ``share``; what fails is said where it is missing.

    Args:
        setup: What to measure on. Each method has a model of its own, equal at the start.
        methods: Names of the registry.
        plan: How thoroughly.
        share: The time.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        found = attempt(partial(_measure, setup, methods, plan, share))
    if isinstance(found, Failure):
        found = _without_times(setup, methods, found.reason)
    found.notes = _said(caught)
    found.seconds = share.spent()
    release_memory()
    return found


def _measure(setup: Setup, methods: Sequence[str], plan: Plan, share: Share) -> Found:
    device = torch.device(setup.device)
    parameters = sum(p.numel() for p in build_problem(setup).module.parameters())
    measured = Measurement(describe(setup, parameters), setup.as_json(), list(methods))
    times = interleaved(
        {method: partial(_step, method, setup) for method in methods},
        plan.rounds,
        plan.warmup,
        clock_for(device),
        seed=setup.seed,
        go_on=share.part(_FOR_TIMES).goes_on,
    )
    measured.seconds, measured.time_errors = times.seconds, times.errors
    release_memory()
    found = Found(measured)
    for method in methods:
        if method in times.errors:
            continue  # the reason stands with the times
        if not share.goes_on(0):
            measured.memory_errors[method] = found.wait_errors[method] = OUT_OF_TIME
        elif device.type == "cuda":
            _probe_on_cuda(method, setup, found, device)
        elif plan.memory:
            _note(measured, method, peak_in_own_process(method, setup, own_allocator=False))
    return found


def _step(method: str, setup: Setup) -> Step:
    return settled(method, build_problem(setup))


def _probe_on_cuda(method: str, setup: Setup, found: Found, device: torch.device) -> None:
    """Peak, synchronisations and idle time, each from steps of their own, the first ones over."""

    def probe() -> None:
        problem = build_problem(setup)
        before = held_on_cuda(device)
        step = settled(method, problem)
        step()
        _note(found.measured, method, Peak(cuda_peak_of(step, before, device), None))
        found.syncs[method] = synchronisations(step)
        whole = statistics.median(found.measured.seconds[method])
        found.busy[method] = min(1.0, busy_seconds(step, device) / whole)

    failed = attempt(probe)
    if isinstance(failed, Failure):
        found.wait_errors[method] = failed.reason
    release_memory()


def _note(measured: Measurement, method: str, peak: Peak | Failure) -> None:
    if isinstance(peak, Failure):
        measured.memory_errors[method] = peak.reason
    else:
        measured.peaks[method] = peak


def _said(caught: Sequence[warnings.WarningMessage]) -> list[str]:
    lines = [str(warning.message).strip().splitlines()[0] for warning in caught]
    return list(dict.fromkeys(lines))[:_MOST_NOTES]


def not_reached(setup: Setup, methods: Sequence[str]) -> Found:
    """Return that there was no time for any of them."""
    return _without_times(setup, methods, OUT_OF_TIME)


def _without_times(setup: Setup, methods: Sequence[str], reason: str) -> Found:
    errors = dict.fromkeys(methods, reason)
    return Found(Measurement(setup.model, setup.as_json(), list(methods), time_errors=errors))


def device_answers(device: torch.device) -> str | None:
    """Return why nothing can run on the device any more, or ``None``.

    After an illegal access a CUDA device refuses all that a process asks of it.
    """
    try:
        torch.ones(1, device=device).add_(1).item()
    except Exception as error:
        return reason_of(error)
    return None


def device_memory(device: torch.device) -> int | None:
    """Return the device's memory in bytes; ``None`` where no allocator counts it."""
    if device.type != "cuda":
        return None
    return int(torch.cuda.get_device_properties(device).total_memory)
