"""A virtual environment made for one run of the library's tests."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path

# What they need is the library's own; the flagship and the benchmarks have more.
LIBRARY_TESTS = [
    *("-q", "-m", "not slow", "--ignore=tests/covid3d", "--ignore=tests/benchmarks"),
    "--ignore=tests/examples",
]


class NotInstalled(Exception):  # noqa: N818 - said to the one who asked, not raised at a user
    """Something could not be installed, and so was not tested."""


class Environment:
    """A fresh virtual environment in ``folder``; what was there before is removed."""

    def __init__(self, folder: Path) -> None:
        venv.create(folder, clear=True, with_pip=True)
        self.python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"

    def install(self, *requirements: str) -> None:
        """Install, or raise `NotInstalled` with the last of what pip said."""
        command = [self.python, "-m", "pip", "install", "--quiet", *requirements]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
            raise NotInstalled(" ".join(errors[-2:]) or done.stderr[-500:])

    def version_of(self, package: str) -> str:
        code = f"import importlib.metadata as m; print(m.version({package!r}))"
        command = [self.python, "-c", code]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    def library_tests(self, source: Path, more: Sequence[str] = ()) -> int:
        """Run them from a source tree and return pytest's status."""
        environment = {**os.environ, "PYTHONPATH": str(source)}
        command = [self.python, "-m", "pytest", *LIBRARY_TESTS, *more, "tests"]
        sys.stdout.flush()
        return subprocess.run(command, cwd=source, env=environment, check=False).returncode
