"""From tests marked ``compatibility`` to ``docs/compatibility.md``.

A test, or one set of its parameters, that says what the library does with other people's code is
marked ``@pytest.mark.compatibility(area, what, result, note="")``. With ``--compatibility-page``
the page is written from the rows whose tests all passed in that run; where a test of a refusal
calls ``record_property("reason", str(error))``, the page gives the error's own words.
"""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

MARK = "compatibility"
AREAS = {
    "architecture": "Architectures",
    "operator": "Operators",
    "wrapper": "Wrappers",
    "precision": "Precisions",
    "hook": "Hooks",
    "memory": "What models keep and change",
    "loss": "Losses",
    "batch": "Batches",
    "framework": "Frameworks",
}
WORDS = ("warned of", "refused")
LONG = 100
PACKAGES = (
    "torch",
    "torchvision",
    "transformers",
    "peft",
    "accelerate",
    "lightning",
    "timm",
    "monai",
)
INTRODUCTION = """\
# Compatibility

What was tried, and with which result. *Exact* means that the scores equal those of plain autograd,
one backward pass a sample, to rounding; where another way than the cheapest is taken, it is named.
*As in training*: it happens once a step, in the training pass, and never while scoring.
*Warned of*: it runs, and the library says once what looks wrong, in the words given. *Refused*: the
library raises an error that says what to do, in the words given. *As the plain loop*: a framework's
training gives the weights and parameters of a plain loop. DeepSpeed and Megatron
were tried by stand-ins that look like theirs. This page is written by `make compatibility`, from
the tests that passed; `MetaReweighter.check` tells the same of a model of your own.
"""


@dataclass(frozen=True, order=True)
class Row:
    """One line of the page; ``note`` is what is known before the test has run."""

    area: str
    what: str
    result: str
    note: str = field(default="", compare=False)


def rows_of(item: pytest.Item) -> Iterator[Row]:
    """Yield the rows that a test is about.

    Raises:
        ValueError: If there is no such area, which would be a row that no table shows.
    """
    for mark in item.iter_markers(MARK):
        row = Row(*mark.args, **mark.kwargs)
        if row.area not in AREAS:
            raise ValueError(f"{item.nodeid}: area must be one of {list(AREAS)}, got {row.area!r}.")
        yield row


def render(rows: dict[Row, str], versions: Iterable[str]) -> str:
    """Return the page of ``rows``, with a reason or note to each."""
    parts = [INTRODUCTION, f"With {', '.join(versions)}.\n"]
    for area, title in AREAS.items():
        said: list[str] = []
        lines = []
        for row, reason in sorted(rows.items(), key=lambda each: _order(each[0])):
            if row.area == area:
                note = _note(_cell(reason), said)
                lines.append(f"| {_cell(row.what)} | {_cell(row.result)} | {note} |")
        if lines:
            head = ["| what | result | |", "|---|---|---|"]
            parts.append("\n".join([f"## {title}\n", *head, *lines]) + "\n")
        if said:
            parts.append("\n".join(f"{n}. {text}" for n, text in enumerate(said, 1)) + "\n")
    return "\n".join(parts)


def _order(row: Row) -> tuple[int, str]:
    """What works comes first, what is refused last."""
    rank = WORDS.index(row.result) + 1 if row.result in WORDS else 0
    return rank, row.what.casefold()


def _note(reason: str, said: list[str]) -> str:
    """A long reason stands once, below the table."""
    if len(reason) <= LONG:
        return reason
    if reason not in said:
        said.append(reason)
    return f"see {said.index(reason) + 1}"


def listed(page: str) -> set[tuple[str, str, str]]:
    """Return area, what and result of every row of a page."""
    titles = {title: area for area, title in AREAS.items()}
    found, area = set(), ""
    for line in page.splitlines():
        if line.startswith("## "):
            area = titles[line.removeprefix("## ")]
        elif area and line.startswith("| ") and not line.startswith("| what |"):
            what, result, _ = (part.strip() for part in line.strip("|").split(" | ", 2))
            found.add((area, what, result))
    return found


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def versions() -> list[str]:
    """Return Python's version, and that of each package that is installed."""
    found = [f"Python {platform.python_version()}"]
    for package in PACKAGES:
        try:
            found.append(f"{package} {importlib.metadata.version(package).split('+')[0]}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


class CompatibilityPage:
    """The pytest plugin: gathers rows and outcomes, and writes the page at the end."""

    def __init__(self, target: Path | None) -> None:
        self.target = target
        self.marked: set[Row] = set()
        self.expected_to_fail: set[Row] = set()
        self.reasons: dict[Row, str] = {}
        self.wanting: dict[Row, str] = {}

    @pytest.hookimpl(tryfirst=True)  # before any test is deselected
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        for item in items:
            rows = set(rows_of(item))
            self.marked |= rows
            if item.get_closest_marker("xfail"):
                self.expected_to_fail |= rows

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]):  # noqa: ARG002
        report = yield
        if report.passed and report.when == "call" and not hasattr(report, "wasxfail"):
            said = dict(item.user_properties).get("reason")
            for row in rows_of(item):
                self.reasons[row] = str(said or row.note)
        elif not report.passed or hasattr(report, "wasxfail"):
            for row in rows_of(item):
                self.wanting[row] = "xfailed" if hasattr(report, "wasxfail") else report.outcome
        return report

    def pytest_terminal_summary(
        self, terminalreporter: pytest.TerminalReporter, exitstatus: int
    ) -> None:
        if self.target is None:
            return
        if exitstatus > pytest.ExitCode.TESTS_FAILED or not self.reasons:
            terminalreporter.line(f"{self.target} is not written: the run did not come to its end")
            return
        passed = {row: text for row, text in self.reasons.items() if row not in self.wanting}
        self.target.write_text(render(passed, versions()), encoding="utf-8")
        terminalreporter.line(f"{len(passed)} rows written to {self.target}")
        for row, outcome in sorted(self.wanting.items()):
            terminalreporter.line(f"left out, for its test {outcome}: {row.area}, {row.what}")
