"""A bar of progress, by nothing but the standard library."""

from __future__ import annotations

import sys
from typing import TextIO

_WIDTH = 24


class Bar:
    """One line that is written over where it is a terminal, else a line a step.

    Args:
        total: Steps in all.
        stream: Where to write.
    """

    def __init__(self, total: int, stream: TextIO | None = None) -> None:
        self._total = total
        self._stream = sys.stderr if stream is None else stream
        self._longest = 0

    def show(self, done: int, seconds: float, words: str) -> None:
        """Show how far it is.

        Args:
            done: Steps done.
            seconds: Since the beginning.
            words: What comes next.
        """
        full = _WIDTH * done // max(1, self._total)
        bar = "█" * full + "·" * (_WIDTH - full)
        line = f"{bar} {done}/{self._total} {seconds:4.0f} s  {words}"
        if self._stream.isatty():
            self._longest = max(self._longest, len(line))
            self._stream.write("\r" + line.ljust(self._longest))
        else:
            self._stream.write(line + "\n")
        self._stream.flush()

    def close(self) -> None:
        """End the line."""
        if self._stream.isatty():
            self._stream.write("\n")
