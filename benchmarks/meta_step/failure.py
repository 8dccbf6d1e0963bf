"""A method that fails is a result: what it said, in one line, and the memory it held given back."""

from __future__ import annotations

import gc
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

import torch

OUT_OF_MEMORY = "out of memory"
NOT_AVAILABLE = "not available"
_CPU_ALLOCATOR = "DefaultCPUAllocator: can't allocate memory"

Result = TypeVar("Result")


@dataclass(frozen=True)
class Failure:
    """Why there is no result, in one line."""

    reason: str


def reason_of(error: Exception) -> str:
    """Return :data:`OUT_OF_MEMORY`, which package is missing, or the error and its first line."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError) or _CPU_ALLOCATOR in str(error):
        return OUT_OF_MEMORY
    lines = str(error).strip().splitlines()
    if isinstance(error, ModuleNotFoundError) and error.name:
        return f"{NOT_AVAILABLE}: {error.name} is not installed"
    return f"{type(error).__name__}: {lines[0].strip()}" if lines else type(error).__name__


def attempt(action: Callable[[], Result]) -> Result | Failure:
    """Return what ``action`` returns, or why it failed.

    The error itself is let go: its traceback holds every tensor of the frames that it passed.
    """
    try:
        return action()
    except Exception as error:
        return Failure(reason_of(error))


def release_memory() -> None:
    """Give unused memory back, the accelerator's cache included."""
    gc.collect()
    if torch.cuda.is_available():
        with suppress(RuntimeError):  # a device that has given up gives nothing back
            torch.cuda.empty_cache()
