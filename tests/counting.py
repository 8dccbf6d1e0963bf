"""What a step runs, by count: no clock is asked."""

from __future__ import annotations

from collections.abc import Callable

from torch._C._autograd import DeviceType
from torch.profiler import ProfilerActivity, profile


def operators_of(step: Callable[[], object]) -> int:
    """Return how many operators a step calls.

    By the profiler: the library does not follow a pass that a ``TorchDispatchMode`` looks at too.
    """
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        step()
    events = [e for e in profiler.events() or [] if e.device_type == DeviceType.CPU]
    return sum(_is_operator(e) and not _within_another(e) for e in events)


def _is_operator(event: object) -> bool:
    return event.name.startswith("aten::")


def _within_another(event: object) -> bool:
    around = event.cpu_parent
    while around is not None:
        if _is_operator(around):
            return True
        around = around.cpu_parent
    return False
