"""Whether host and device wait for each other: synchronisations, and the device's idle time."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable

import torch
from torch._C._autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from benchmarks.meta_step.problem import Step, steps_in
from benchmarks.meta_step.profiling import RANGES

_SAID = "called a synchronizing CUDA operation"
"""What PyTorch warns of, each time, in its debug mode."""


def synchronisations(
    step: Step, set_mode: Callable[[str], None] = torch.cuda.set_sync_debug_mode
) -> float:
    """Return how often a training step makes the host wait for the device.

    PyTorch's debug mode does not see all of them: not those of other libraries.

    Args:
        step: What to run once.
        set_mode: Sets the debug mode.
    """
    set_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            step()
    finally:
        set_mode("default")
    return sum(_SAID in str(warning.message) for warning in caught) / steps_in(step)


def busy_seconds(step: Step, device: torch.device) -> float:
    """Return for how long kernels and copies run on the device in one training step.

    Args:
        step: What to run once.
        device: A CUDA device.
    """
    activities = [ProfilerActivity.CPU, ProfilerActivity.CUDA]
    with profile(activities=activities) as profiler:
        step()
        torch.cuda.synchronize(device)
    spans = [
        (event.time_range.start, event.time_range.end)
        for event in profiler.events() or []
        if event.device_type == DeviceType.CUDA and not _is_a_label(event)
    ]
    return covered(spans) / 1e6 / steps_in(step)


def _is_a_label(event: object) -> bool:
    # A range of ours is drawn on the device too, from its first kernel to its last.
    name = getattr(event, "name", "")
    return (
        name in RANGES
        or name.startswith("ProfilerStep")
        or bool(getattr(event, "is_user_annotation", False))
    )


def covered(spans: Iterable[tuple[float, float]]) -> float:
    """Return the length of the union of the spans."""
    total, until = 0.0, float("-inf")
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, until))
        until = max(until, end)
    return total
