"""What tests run in processes of their own: light, for every process imports it anew."""

from __future__ import annotations

import os
import time
from pathlib import Path

from examples.covid3d.common.errors import problem


def note(folder: Path, name: str, seconds: float = 0.0) -> None:
    """Writes the process's number and environment to a file."""
    time.sleep(seconds)
    names = ("TQDM_DISABLE", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
    told = [str(os.getpid()), *(os.environ.get(one, "") for one in names)]
    (folder / name).write_text(" ".join(told), encoding="utf-8")


def fail(folder: Path, name: str, seconds: float = 0.0) -> None:
    """Fails with an error of the user's if that is its name."""
    if name == "bad":
        raise problem(name, "a bad one", "a good one", "drop it")
    note(folder, name, seconds)


def announce(folder: Path, name: str) -> None:
    """Writes the process's number and works on for long."""
    temporary = folder / f"{name}.part"
    temporary.write_text(str(os.getpid()), encoding="utf-8")
    temporary.replace(folder / name)
    time.sleep(120)
