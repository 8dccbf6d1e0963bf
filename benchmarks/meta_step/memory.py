"""Peak memory of a step, over what was held before it, measured two ways.

Held before, and so not counted, are parameters, batches and the optimiser's momentum: a
:class:`~benchmarks.meta_step.problem.Problem` has its momentum from the outset, though no layer of
it has run. Counted are gradients, since every step makes and frees them, and what a method keeps
from step to step, such as a copy of the network: the peaks are over the time before it was built.
"""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.meta_step.problem import Step

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
            losses included; ``None`` where it cannot be read (other than Linux), or would mean
            something else (on CUDA; for compiled models, whose first step is the compiler's).
    """

    tensors: float
    resident: float | None


def peak_of(
    build: Callable[[], Step], repeats: int, device: torch.device, *, compiled: bool = False
) -> Peak:
    """Return the peaks of a step and of building it, in a process that has run no step before.

    Args:
        build: Returns what to run.
        repeats: How often to run it, for the resident peak.
        device: Where it runs.
        compiled: Whether the model is compiled.
    """
    build()  # imports what it needs, which is not the step's memory
    if device.type == "cuda":
        return Peak(_cuda_peak(build, device), None)
    resident = None if compiled else _resident_peak(build, repeats)
    return Peak(_tensor_peak(build), resident)


def _cuda_peak(build: Callable[[], Step], device: torch.device) -> float:
    build()()  # cuBLAS and cuDNN take their workspaces
    before = held_on_cuda(device)
    step = build()
    step()
    return cuda_peak_of(step, before, device)


def held_on_cuda(device: torch.device) -> int:
    """Return how many bytes tensors on the device hold now."""
    gc.collect()
    torch.cuda.synchronize(device)
    return torch.cuda.memory_allocated(device)


def cuda_peak_of(step: Step, before: int, device: torch.device) -> float:
    """Return the peak of one step over the bytes held ``before``, in MiB."""
    torch.cuda.reset_peak_memory_stats(device)
    step()
    torch.cuda.synchronize(device)
    return (torch.cuda.max_memory_allocated(device) - before) / 2**20


def resident_is_readable() -> bool:
    """Whether the system tells a process its peak of resident memory, and lets it be reset."""
    return _STATUS.exists() and _CLEAR.exists()


def reset_resident_peak() -> float:
    """Forget the process's peak of resident memory, and return what is resident now, in KiB."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:  # glibc: give back what is free, lest it be used unseen
        trim(0)
    _CLEAR.write_text("5", encoding="utf-8")
    return _status("VmRSS")


def resident_peak() -> float:
    """Return the peak of resident memory since it was reset, in KiB."""
    return _status("VmHWM")


def _resident_peak(build: Callable[[], Step], repeats: int) -> float | None:
    if not resident_is_readable():
        return None
    before = reset_resident_peak()
    step = build()
    for _ in range(repeats):
        step()
    return (resident_peak() - before) / 2**10


def _status(field: str) -> float:
    lines = _STATUS.read_text(encoding="utf-8").splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(field))


def _tensor_peak(build: Callable[[], Step]) -> float:
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        step = build()
        for _ in range(2):
            step()
    kineto = profiler.profiler
    assert kineto is not None
    events = [e for e in kineto.kineto_results.events() if e.name() == "[memory]"]
    held = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak / 2**20
