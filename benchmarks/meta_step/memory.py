"""Peak memory of a step, over what was held before it, measured two ways."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")

# With glibc's own, growing threshold, freed blocks stay with the process, and the peak shows how
# they were cut up rather than what was needed.
ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": "65536"}


@dataclass(frozen=True)
class Peak:
    """Peaks in MiB.

    Attributes:
        tensors: Bytes in tensors at once: what an accelerator's memory must hold.
        resident: Resident memory of the process, scratch space of the kernels and the allocator's
            losses included; ``None`` where it cannot be read (other than Linux, or on CUDA).
    """

    tensors: float
    resident: float | None


def peak_of(step: Callable[[], None], repeats: int, device: torch.device) -> Peak:
    """Return the peaks of ``step``, in a process that has run no step before.

    Args:
        step: What to run.
        repeats: How often, for the resident peak.
        device: Where it runs.
    """
    if device.type == "cuda":
        step()
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        step()
        return Peak((torch.cuda.max_memory_allocated(device) - before) / 2**20, None)
    resident = _resident_peak(step, repeats)
    return Peak(_tensor_peak(step), resident)


def _resident_peak(step: Callable[[], None], repeats: int) -> float | None:
    if not (_STATUS.exists() and _CLEAR.exists()):
        return None
    gc.collect()
    before = _status("VmRSS")
    _CLEAR.write_text("5")  # forget the peak of the imports
    for _ in range(repeats):
        step()
    return (_status("VmHWM") - before) / 2**10


def _status(field: str) -> float:
    lines = _STATUS.read_text().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(field))


def _tensor_peak(step: Callable[[], None]) -> float:
    step()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        step()
    events = [e for e in profiler.profiler.kineto_results.events() if e.name() == "[memory]"]
    held = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak / 2**20
