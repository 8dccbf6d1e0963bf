"""Whether the next, larger point will fit in memory: foreseen, since on a CPU nobody says no.

Where Linux promises memory that it lacks, an allocation succeeds and the process is killed when
it writes there. On CUDA the allocator raises an error, which is a result like any other.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from benchmarks.meta_step.memory import reset_resident_peak, resident_is_readable, resident_peak

_MEMINFO = Path("/proc/meminfo")
_MARGIN = 0.8  # the rest of the machine's memory is for others


def available_kib(meminfo: Path = _MEMINFO) -> float | None:
    """Return the memory that can be had without swapping, in KiB, or ``None`` if nothing says."""
    if not meminfo.exists():
        return None
    for line in meminfo.read_text(encoding="utf-8").splitlines():
        if line.startswith("MemAvailable:"):
            return float(line.split()[1])
    return None


class Room:
    """Remembers what each method needed, and foresees what it will need at a larger value.

    Args:
        available: Says how much memory can be had, in KiB.
    """

    def __init__(self, available: Callable[[], float | None] = available_kib) -> None:
        self._available = available
        self._needed: dict[str, tuple[int, float]] = {}

    def needed_at(self, value: int) -> dict[str, float]:
        """Return what was needed at ``value``, in KiB by name."""
        return {name: kib for name, (at, kib) in self._needed.items() if at == value}

    def shortage(self, name: str, value: int) -> str | None:
        """Return why ``name`` will not fit at ``value``, or ``None``.

        Memory is taken to grow in proportion, from the last value measured; nothing here grows
        faster.
        """
        available = self._available()
        if name not in self._needed or available is None:
            return None
        before, needed = self._needed[name]
        expected = needed * value / before
        if expected <= _MARGIN * available:
            return None
        return (
            f"not run: about {expected / 2**20:.1f} GiB expected, {available / 2**20:.1f} GiB free"
        )

    def measure(self, name: str, value: int, action: Callable[[], None]) -> None:
        """Run ``action`` and remember by how much resident memory rose at its peak."""
        if not resident_is_readable():
            action()
            return
        before = reset_resident_peak()
        action()
        self.remember(name, value, resident_peak() - before)

    def remember(self, name: str, value: int, kib: float) -> None:
        """Note that ``name`` needed so many KiB at ``value``."""
        self._needed[name] = (value, kib)
