"""Peak memory of a step, over what the process held before it."""

from __future__ import annotations

import gc
import resource
from collections.abc import Callable
from pathlib import Path

import torch

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")


def peak_of(step: Callable[[], None], repeats: int, device: torch.device) -> float:
    """Return the peak in MiB of ``repeats`` runs, over the memory held before the first.

    On CUDA it is what the allocator handed out; elsewhere the resident memory of this process,
    which should have run nothing else before.
    """
    gc.collect()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        for _ in range(repeats):
            step()
        return (torch.cuda.max_memory_allocated(device) - before) / 2**20
    before_kib = _resident("VmRSS")
    if before_kib is not None:
        _CLEAR.write_text("5")  # forget the peak of the imports
    for _ in range(repeats):
        step()
    peak = _resident("VmHWM")
    if before_kib is None or peak is None:  # not Linux: the peak of the whole process
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    return (peak - before_kib) / 2**10


def _resident(field: str) -> float | None:
    if not (_STATUS.exists() and _CLEAR.exists()):
        return None
    for line in _STATUS.read_text().splitlines():
        if line.startswith(field):
            return float(line.split()[1])
    return None
