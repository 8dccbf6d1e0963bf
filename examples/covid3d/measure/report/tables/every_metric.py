"""One line per method: every metric, failures, training."""

from __future__ import annotations

from collections.abc import Sequence

from examples.covid3d.measure.report.markup import Entry, Table
from examples.covid3d.measure.report.statistics.measured import METRICS, Rows
from examples.covid3d.measure.report.statistics.summary import cell
from examples.covid3d.measure.report.tables.cells import (
    NONE,
    SPREAD,
    Labels,
    complete_of,
    mark,
    summary,
)


def _failures(rows: Rows, method: str) -> tuple[Entry, Entry]:
    found = cell(rows, method, "dice")
    if found is None:
        return NONE, NONE
    return (
        Entry(f"{found.missed} of {found.with_lesion}"),
        Entry(f"{found.false_alarms} of {found.without_lesion}"),
    )


def _counts(training: Rows, method: str, column: str) -> list[float]:
    return [float(row[column]) for row in training if row["method"] == method and row.get(column)]


def _training(training: Rows, method: str) -> tuple[Entry, Entry]:
    seconds, steps = (_counts(training, method, column) for column in ("seconds", "steps"))
    mean = sum(seconds) / len(seconds) if seconds else 0.0
    low, high = (min(steps), max(steps)) if steps else (0.0, 0.0)
    text = f"{low:.0f}" if low == high else f"{low:.0f} to {high:.0f}"
    return (
        Entry(f"{mean:.0f}", number=mean) if seconds else NONE,
        Entry(text, number=low if low == high else None) if steps else NONE,
    )


def all_metrics_table(
    rows: Rows,
    training: Rows,
    methods: Sequence[str],
    labels: Labels,
    title: str = "All metrics",
) -> Table:
    """One line per method: every metric, missed lesions, false alarms, training time and steps.

    Args:
        rows: Rows of ``metrics.csv``.
        training: Rows of ``training.csv``; a method that is not in it was not trained here.
        methods: Methods, in the order of the table.
        labels: Their names.
        title: Title.

    Returns:
        The table; the training time is the mean over seeds and folds.

    Raises:
        UserError: If a method has no results, or the rows are faulty.
    """
    complete, lacking = complete_of(rows, methods, labels)
    columns = [
        mark(
            [summary(rows, m, metric, None, kind.digits) for m in methods],
            kind.higher_is_better,
            kind.digits,
            complete,
        )
        for metric, kind in METRICS.items()
    ]
    lines = [
        (
            Entry(labels.get(method, method)),
            *(column[index] for column in columns),
            *_failures(rows, method),
            *_training(training, method),
        )
        for index, method in enumerate(methods)
    ]
    heads = (kind.heading for kind in METRICS.values())
    return Table(
        title,
        ("Method", *heads, "Missed", "False alarms", "Training (s)", "Steps"),
        tuple(lines),
        f"{SPREAD} Missed: tests with a lesion in which nothing was found. False alarms: tests "
        "without one in which something was. Training: mean over seeds and folds. Best in bold."
        + lacking,
    )
