"""NumPy's global random number generator, asked and put back only where it has moved.

To read its state, and to write it, NumPy copies 624 numbers one by one.
"""

from __future__ import annotations

import ctypes
import sys
from functools import lru_cache
from typing import Any

# Of the one kind of generator that is looked at in its memory: its numbers, and a place in them.
_BYTES = {"MT19937": 625 * 4}


class NumPyState:
    """The generator behind ``numpy.random``, as it stands now.

    Args:
        like: A state it may still be in.
    """

    def __init__(self, like: NumPyState | None = None) -> None:
        self._raw = _raw()
        self._state: Any
        if like is not None and self._raw is not None and self._raw == like._raw and like._tells:
            self._state = like._state
        else:
            numpy = sys.modules.get("numpy")
            self._state = None if numpy is None else numpy.random.get_state()

    @property
    def _tells(self) -> bool:
        """Whether every draw shows in the memory.

        A normal number that the last draw has left over may be taken without that.
        """
        return self._state is not None and self._state[3] == 0

    def restore(self) -> None:
        """Put it back."""
        if self._state is None or (self._raw is not None and self._tells and _raw() == self._raw):
            return
        sys.modules["numpy"].random.set_state(self._state)


def _raw() -> tuple[int, bytes] | None:
    """Return where the generator is and what is in its memory; ``None`` where that is unknown."""
    numpy = sys.modules.get("numpy")
    get = None if numpy is None else getattr(numpy.random, "get_bit_generator", None)
    if get is None:
        return None
    address, size = _place(get())
    return (address, ctypes.string_at(address, size)) if size else None


@lru_cache(maxsize=1)  # which keeps it: no other gets its address
def _place(generator: Any) -> tuple[int, int]:
    kind = type(generator)
    size = _BYTES.get(kind.__name__, 0) if kind.__module__.startswith("numpy.random") else 0
    return (generator.ctypes.state_address if size else 0), size
