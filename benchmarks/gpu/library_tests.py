"""The library's tests with models and batches on the device, in a process of their own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

VARIABLE = "REWEIGHT_TEST_DEVICE"  # tests/device.py reads it

ROOT = Path(__file__).parent.parent.parent

NEEDED = ("pytest", "hypothesis")

SELECTED = (
    "tests/test_devices.py",
    "tests/derivative/test_methods.py",
    "tests/derivative/beside_training/test_rules.py",
    "tests/last_layer",
    "tests/test_meta_reweighter.py",
    "tests/step",
    "tests/scorers",
    "tests/weightings",
    "tests/isolation/test_scoring_pass.py",
    "tests/selectors",
    "tests/test_normalize.py",
    "tests/lookahead/test_lookahead.py",
    "tests/trusted",
    "tests/labels",
)
"""What says most of a device first; the time may be over before the last."""

QUICK = ("tests/selectors",)

_RESULT = re.compile(r"(?P<test>\S+::.+?) (?P<outcome>PASSED|FAILED|ERROR|SKIPPED|XFAIL|XPASS)\b")
_MOST_NAMES = 20


@dataclass(frozen=True)
class Tested:
    """What the tests said.

    Attributes:
        device: On which they ran.
        counts: Tests by outcome, in pytest's words.
        failed: Names of those that failed, the first of them.
        ended: How it ended, in words: whether all ran.
        complete: Whether they need not be run again.
    """

    device: str
    counts: dict[str, int] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)
    ended: str = ""
    complete: bool = True

    def as_json(self) -> dict[str, Any]:
        """Return the attributes by name."""
        return asdict(self)

    def words(self) -> str:
        """Return it in a sentence or two."""
        counts = ", ".join(f"{number} {name}" for name, number in self.counts.items())
        failed = (
            f" Failed: {', '.join(f'`{name}`' for name in self.failed)}." if self.failed else ""
        )
        return f"{counts or 'No test ran'}; {self.ended}.{failed}"


def run_tests(
    device: str, seconds: float, selected: Sequence[str] = SELECTED, root: Path = ROOT
) -> Tested:
    """Return what the tests say within so many seconds.

    Args:
        device: As ``torch.device`` reads it.
        seconds: After which the process is ended; what has run till then counts.
        selected: Files and folders under ``root``.
        root: Of the repository.
    """
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        return Tested(device, ended=f"not run: {' and '.join(missing)} not installed")
    present = [name for name in selected if (root / name).exists()]
    if not present:
        return Tested(device, ended="not run: the tests are not in this copy")
    command = [sys.executable, "-m", "pytest", "-v", "-m", "not slow", "-p", "no:cacheprovider"]
    command += ["--tb=no", "--color=no", "-o", "addopts=", *present]
    with tempfile.TemporaryFile("w+", encoding="utf-8") as output:
        process = subprocess.Popen(
            command,
            cwd=root,
            env={**os.environ, VARIABLE: device, "COLUMNS": "400"},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            status: int | None = process.wait(seconds)
        except subprocess.TimeoutExpired:
            status = None
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        output.seek(0)
        said = output.read()
    return _read(device, said, status, seconds)


def _read(device: str, said: str, status: int | None, seconds: float) -> Tested:
    outcomes = [(found["test"], found["outcome"].lower()) for found in _RESULT.finditer(said)]
    failed = [name for name, outcome in outcomes if outcome in ("failed", "error")]
    counts = dict(Counter(outcome for _, outcome in outcomes))
    if status is None:
        ended = f"stopped after {seconds:.0f} s, before the end"
    elif status in (0, 1):
        ended = "all that were selected have run"
    else:
        last = said.strip().splitlines()[-1:] or ["no message"]
        ended = f"pytest ended with status {status}: {last[0]}"
    return Tested(device, counts, failed[:_MOST_NAMES], ended, complete=status is not None)
