"""What the tables share: cells, the best of a column, and who was tested on everything.

``labels`` gives the names to print; a method that is not in it goes by its own. The best of a
column is the best among our own results, as printed: what prints alike is marked alike, and where
all do, none is.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from examples.covid3d.measure.report.page.markup import Entry
from examples.covid3d.measure.report.statistics.measured import Rows, rows_of
from examples.covid3d.measure.report.statistics.summary import cell

Labels = Mapping[str, str]

NONE = Entry("–")
SPREAD = "Mean ± standard deviation over test scans, those of all seeds together."
PAPERS = (
    "The paper's column is copied from the paper: their data, their runs; the std of the rows that "
    "they ran is the mean of their folds' stds. Best of ours in bold."
)


def plus_minus(mean: float, std: float | None, digits: int) -> Entry:
    """Mean ± standard deviation; the mean alone where there is none."""
    text = f"{mean:.{digits}f}" + (f" ± {std:.{digits}f}" if std is not None else "")
    return Entry(text, number=mean, spread=std)


def summary(rows: Rows, method: str, metric: str, fold: str | None, digits: int) -> Entry:
    """A method's metric over the tests of a fold, or of all."""
    found = cell(rows, method, metric, fold)
    return plus_minus(found.mean, found.std, digits) if found else NONE


def mark(column: Sequence[Entry], higher: bool, digits: int, may: Sequence[bool]) -> list[Entry]:
    """Marks the best numbers of a column, among those that ``may`` be compared."""
    printed = [
        round(entry.number, digits) if entry.number is not None and allowed else None
        for entry, allowed in zip(column, may, strict=True)
    ]
    known = [number for number in printed if number is not None]
    if len(set(known)) < 2:
        return list(column)
    best = max(known) if higher else min(known)
    return [
        dataclasses.replace(entry, best=number == best)
        for entry, number in zip(column, printed, strict=True)
    ]


def complete_of(rows: Rows, methods: Sequence[str], labels: Labels) -> tuple[list[bool], str]:
    """Whether each method was tested on every fold's every scan, and a note on those that were not.

    An average over other scans than everyone else's cannot be the best of its column.
    """
    scans = {m: {(fold, scan) for _, fold, scan in rows_of(rows, m)} for m in methods}
    every = set().union(*scans.values())
    lacking = [m for m in methods if len(scans[m]) < len(every)]
    note = "".join(
        f" {labels.get(m, m)}: only {len(scans[m])} of {len(every)} test scans." for m in lacking
    )
    return [m not in lacking for m in methods], note
