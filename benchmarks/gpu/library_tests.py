"""The library's tests with models and batches on the device, in a process of their own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
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
    "tests/torch_internals",
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

LOG = "tests.log"

_OUTCOME = r"(?P<{}>PASSED|FAILED|ERROR|SKIPPED|XFAIL|XPASS)"
_RESULT = re.compile(
    rf"^(?P<test>\S+::.+?) {_OUTCOME.format('after')}\b"
    rf"|^\[gw\d+\] \[[ \d]+%\] {_OUTCOME.format('before')} (?P<there>\S+::.+?) *$",
    re.MULTILINE,
)
"""A line of one process, or of one of several."""

_NOT_READ = re.compile(r"^ERROR (\S+\.py)(?: |$)", re.MULTILINE)
"""A file that could not be imported."""

_MOST_PROCESSES = 8
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
    device: str,
    seconds: float,
    output: Path,
    selected: Sequence[str] = SELECTED,
    root: Path = ROOT,
) -> Tested:
    """Return what the tests say within so many seconds.

    Args:
        device: As ``torch.device`` reads it.
        seconds: After which the process is ended; what has run till then counts.
        output: Folder to write all that pytest says to, as :data:`LOG`.
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
    command += ["--continue-on-collection-errors"]
    command += ["--tb=short", "--color=no", "-o", "addopts=", *_side_by_side(device), *present]
    output.mkdir(parents=True, exist_ok=True)
    with (output / LOG).open("w+", encoding="utf-8") as log:
        process = subprocess.Popen(
            command,
            cwd=root,
            env={**os.environ, VARIABLE: device, "COLUMNS": "400"},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            status: int | None = process.wait(seconds)
        except subprocess.TimeoutExpired:
            status = None
        finally:
            if process.poll() is None:
                _end_with_children(process)
        log.seek(0)
        said = log.read()
    return _read(device, said, status, seconds)


def _side_by_side(device: str) -> list[str]:
    """Return what has pytest-xdist, if it is there, run several tests at a time on a GPU.

    A small test keeps one core busy, and the GPU hardly at all. On a CPU tests compete for cores.
    """
    if device.startswith("cpu") or find_spec("xdist") is None:
        return []
    return ["-n", str(max(1, min(_MOST_PROCESSES, (os.cpu_count() or 1) - 2)))]


def _end_with_children(process: subprocess.Popen[bytes]) -> None:
    """End pytest, and the processes that it has run tests in: they would be timed beside."""
    if os.name == "posix":
        os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.wait()


def _read(device: str, said: str, status: int | None, seconds: float) -> Tested:
    outcomes = [
        (found["test"] or found["there"], (found["after"] or found["before"]).lower())
        for found in _RESULT.finditer(said)
    ]
    outcomes += [(name, "error") for name in dict.fromkeys(_NOT_READ.findall(said))]
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
