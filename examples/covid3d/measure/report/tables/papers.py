"""Our Dice beside the paper's Table 4."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from examples.covid3d.measure.report.page.markup import Entry, Table
from examples.covid3d.measure.report.paper import TABLE4, PaperRow
from examples.covid3d.measure.report.statistics.measured import Rows
from examples.covid3d.measure.report.tables.cells import (
    NONE,
    PAPERS,
    SPREAD,
    Labels,
    complete_of,
    mark,
    summary,
)


def table4(
    rows: Rows,
    methods: Sequence[str],
    labels: Labels,
    paper: Mapping[str, PaperRow] = TABLE4,
    kinds: Mapping[str, str] | None = None,
    title: str = "Dice beside the paper's Table 4",
) -> Table:
    """The layout of Table 4: type and name of the method, our mean Dice, the paper's.

    Args:
        rows: Rows of ``metrics.csv``.
        methods: Methods that we ran.
        labels: Names of the methods; those of the paper's rows that are not in it are the paper's.
        paper: Table 4. Its rows come first, in its order, whether we ran them or not.
        kinds: Type of the methods that are not in the paper; "Beyond the paper" if not given.
        title: Title.

    Returns:
        The table.

    Raises:
        UserError: If a method has no results, or the rows are faulty.
    """
    kinds = kinds or {}
    complete, lacking = complete_of(rows, methods, labels)
    ours = dict(
        zip(
            methods,
            mark([summary(rows, m, "dice", None, 4) for m in methods], True, 4, complete),
            strict=True,
        )
    )
    lines = [
        (
            Entry(row.kind),
            Entry(labels.get(method, row.name)),
            ours.get(method, Entry("not run")),
            Entry(row.dice.text, False, row.dice.value, row.dice.spread),
        )
        for method, row in paper.items()
    ]
    lines += [
        (
            Entry(kinds.get(method, "Beyond the paper")),
            Entry(labels.get(method, method)),
            ours[method],
            NONE,
        )
        for method in methods
        if method not in paper
    ]
    return Table(
        title,
        ("Method type", "Method", "Mean Dice, ours", "Mean Dice, paper (their data)"),
        tuple(lines),
        f"{SPREAD} {PAPERS}{lacking}",
        grouped=True,
    )
