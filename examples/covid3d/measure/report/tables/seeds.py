"""A column per seed."""

from __future__ import annotations

from collections.abc import Sequence

from examples.covid3d.measure.report.page.markup import Entry, Table
from examples.covid3d.measure.report.statistics.measured import METRICS, Rows, numeric
from examples.covid3d.measure.report.statistics.summary import over_seeds
from examples.covid3d.measure.report.tables.cells import NONE, Labels, complete_of, mark, plus_minus


def seeds_table(
    rows: Rows,
    methods: Sequence[str],
    labels: Labels,
    metric: str = "dice",
    title: str = "Seeds",
) -> Table:
    """One line per method: its mean over all test scans for each seed, and mean ± std over seeds.

    Args:
        rows: Rows of ``metrics.csv``.
        methods: Methods, in the order of the table.
        labels: Their names.
        metric: A key of ``METRICS``.
        title: Title.

    Returns:
        The table; with a single seed, no std.

    Raises:
        UserError: If a method has no results, or the rows are faulty.
    """
    kind = METRICS[metric]
    found = [over_seeds(rows, m, metric) for m in methods]
    seeds = sorted({seed for one in found for seed in one.means}, key=numeric)
    columns = [
        [
            plus_minus(one.means[seed], None, kind.digits) if seed in one.means else NONE
            for one in found
        ]
        for seed in seeds
    ]
    columns.append(
        [
            plus_minus(one.mean, one.std if len(one.means) > 1 else None, kind.digits)
            for one in found
        ]
    )
    may, lacking = complete_of(rows, methods, labels)
    marked = [mark(column, kind.higher_is_better, kind.digits, may) for column in columns]
    return Table(
        title,
        ("Method", *(f"Seed {seed}" for seed in seeds), "Mean ± std over seeds"),
        tuple(
            (Entry(labels.get(m, m)), *line)
            for m, line in zip(methods, zip(*marked, strict=True), strict=True)
        ),
        f"{kind.heading}, mean over all folds' test scans. Best in bold.{lacking}",
    )
