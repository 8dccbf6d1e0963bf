"""Disks and networks that fail for a moment, or for good."""

from __future__ import annotations

import builtins
import io
import os

PASSING = ("ENOSPC", "EIO", "ESTALE", "ETIMEDOUT", "EMFILE")


def fail_to_open(monkeypatch, part: str, number: int, times: int = 1) -> list[str]:
    """Makes opening files with ``part`` in their path fail, so many times; returns a log of it."""
    log: list[str] = []
    real = io.open

    def failing(file, *args, **kwargs):
        if part in str(file) and len(log) < times:
            log.append(str(file))
            raise OSError(number, os.strerror(number), str(file))
        return real(file, *args, **kwargs)

    monkeypatch.setattr(builtins, "open", failing)
    monkeypatch.setattr(io, "open", failing)
    return log
