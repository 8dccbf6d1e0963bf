"""Where the time of one step goes: by phase, and by operator."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch._C._autograd import DeviceType
from torch.autograd.profiler_util import FunctionEvent
from torch.profiler import ProfilerActivity, profile

from benchmarks.meta_step.methods import METHODS
from benchmarks.meta_step.models import Setup, build_problem
from benchmarks.meta_step.problem import Step

RANGES = (
    "trusted gradient",
    "scores",
    "scores and training forward",
    "training backward",
    "optimiser",
)
"""Names given to ``record_function`` by the methods; what is in none is the training forward."""

_BACKWARD = "autograd::engine::evaluate_function"
_WARMUP = 2
_TOP = 15


@dataclass(frozen=True)
class Profile:
    """Seconds of self time of one step, the largest first.

    Attributes:
        phases: By phase; within a range, what autograd's engine ran is a phase of its own.
        operators: By the operator's name.
    """

    phases: dict[str, float]
    operators: dict[str, float]


def profile_method(name: str, setup: Setup) -> Profile:
    """Return the profile of a method of the registry."""
    return profile_of(METHODS[name](build_problem(setup)), torch.device(setup.device))


def profile_of(step: Step, device: torch.device) -> Profile:
    """Return the profile of one step, after two that warm it up.

    Args:
        step: What to run.
        device: Where it runs; on CUDA the times are those of the kernels an operator launched.
    """
    on_cuda = device.type == "cuda"
    for _ in range(_WARMUP):
        step()
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_cuda else [])]
    with profile(activities=activities) as profiler:
        step()
        if on_cuda:
            torch.cuda.synchronize(device)
    found = profiler.events() or []
    events = [event for event in found if event.device_type == DeviceType.CPU]
    ranges = [event for event in events if event.name in RANGES]
    phases: dict[str, float] = defaultdict(float)
    operators: dict[str, float] = defaultdict(float)
    for event in events:
        own = event.self_device_time_total if on_cuda else event.self_cpu_time_total
        phases[_phase(event, ranges)] += own / 1e6
        operators["Python, outside operators" if event.name in RANGES else event.name] += own / 1e6
    return Profile(_largest_first(phases), _largest_first(operators))


def _phase(event: FunctionEvent, ranges: Sequence[FunctionEvent]) -> str:
    # By time, not by nesting: on CUDA the backward pass runs on a thread of its own.
    start = event.time_range.start
    inside = [r.name for r in ranges if r.time_range.start <= start < r.time_range.end]
    phase: str = inside[0] if inside else "training forward"
    ancestor: FunctionEvent | None = event
    while ancestor is not None:
        if ancestor.name.startswith(_BACKWARD) and "backward" not in phase:
            return f"{phase}: its backward passes"
        ancestor = ancestor.cpu_parent
    return phase


def _largest_first(seconds: dict[str, float]) -> dict[str, float]:
    return dict(sorted(seconds.items(), key=lambda item: -item[1]))


def markdown(profiles: dict[str, Profile]) -> str:
    """Return two tables for each method: phases, and the operators that take longest.

    Args:
        profiles: By method; times are also given in units of ``plain``'s whole step.
    """
    plain = sum(profiles["plain"].phases.values())
    return "\n\n".join(
        f"## {name}\n\n{_table('phase', found.phases, plain)}\n\n"
        f"{_table('operator', dict(list(found.operators.items())[:_TOP]), plain, found)}"
        for name, found in profiles.items()
    )


def _table(head: str, seconds: dict[str, float], plain: float, whole: Profile | None = None) -> str:
    total = sum((whole.phases if whole else seconds).values())
    lines = [f"| {head} | ms | share of the step | × plain |", "|---|---|---|---|"]
    for name, own in seconds.items():
        lines.append(f"| {name} | {own * 1e3:.1f} | {own / total:.0%} | {own / plain:.2f} |")
    return "\n".join(lines)
