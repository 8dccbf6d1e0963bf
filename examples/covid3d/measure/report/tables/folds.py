"""A line per method and metric, a column per fold: the paper's Tables 2 and 3."""

from __future__ import annotations

from collections.abc import Sequence

from examples.covid3d.measure.report.page.markup import Entry, Table
from examples.covid3d.measure.report.paper import PaperTable
from examples.covid3d.measure.report.statistics.measured import METRICS, Rows, numeric, rows_of
from examples.covid3d.measure.report.tables.cells import (
    NONE,
    PAPERS,
    SPREAD,
    Labels,
    complete_of,
    mark,
    summary,
)

_PENALTY = (
    " A distance where one mask is empty is the diagonal of the volume: medians, and means without "
    "it, are in the table of all metrics."
)


def folds_table(
    rows: Rows,
    methods: Sequence[str],
    labels: Labels,
    metrics: Sequence[str] = ("dice", "hd_mm"),
    paper: PaperTable | None = None,
    title: str = "Cross-validation",
) -> Table:
    """The layout of Tables 2 and 3: a line per method and metric, a column per fold.

    Args:
        rows: Rows of ``metrics.csv``.
        methods: Methods, in the order of the table.
        labels: Their names.
        metrics: Keys of ``METRICS``.
        paper: Table 2 or 3 of the paper, whose averages make the last column.
        title: Title.

    Returns:
        The table. The average is over all test scans, not over the folds' means.

    Raises:
        UserError: If a method has no results, or the rows are faulty.
    """
    folds = sorted({fold for m in methods for _, fold, _ in rows_of(rows, m)}, key=numeric)
    complete, lacking = complete_of(rows, methods, labels)
    lines: dict[tuple[str, str], list[Entry]] = {}
    for metric in metrics:
        kind = METRICS[metric]
        columns = [
            mark(
                [summary(rows, m, metric, fold, kind.digits) for m in methods],
                kind.higher_is_better,
                kind.digits,
                complete if fold is None else [True] * len(methods),
            )
            for fold in [*folds, None]
        ]
        for method, line in zip(methods, zip(*columns, strict=True), strict=True):
            lines[method, metric] = list(line)
            if paper is not None:
                printed = paper.get(method, {}).get(metric)
                lines[method, metric].append(
                    Entry(
                        printed.average.text, False, printed.average.value, printed.average.spread
                    )
                    if printed
                    else NONE
                )
    last = ("Paper, average (their data)",) if paper is not None else ()
    return Table(
        title,
        ("Method", "Metric", *(f"Fold {fold}" for fold in folds), "Average", *last),
        tuple(
            (Entry(labels.get(m, m)), Entry(METRICS[metric].heading), *lines[m, metric])
            for m in methods
            for metric in metrics
        ),
        SPREAD
        + (_PENALTY if any(METRICS[metric].unit for metric in metrics) else "")
        + (f" {PAPERS}" if paper is not None else " Best in bold.")
        + lacking,
        grouped=True,
    )
