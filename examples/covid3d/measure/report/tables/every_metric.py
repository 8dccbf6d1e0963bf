"""One line per method: every metric, and what was missed or invented."""

from __future__ import annotations

from collections.abc import Sequence

from examples.covid3d.measure.report.page.markup import Entry, Table
from examples.covid3d.measure.report.statistics.measured import METRICS, Metric, Rows
from examples.covid3d.measure.report.statistics.summary import cell, middle, where_found
from examples.covid3d.measure.report.tables.cells import NONE, Labels, complete_of, mark


def _mean(rows: Rows, method: str, metric: str, kind: Metric) -> Entry:
    found = cell(rows, method, metric)
    return Entry(f"{found.mean:.{kind.digits}f}", number=found.mean) if found else NONE


def _middle(rows: Rows, method: str, metric: str, kind: Metric) -> Entry:
    # In healthy lungs a distance is nought or a penalty: that is what false alarms count.
    found = middle(rows, method, metric, with_lesion=kind.unit == "mm")
    if found is None:
        return NONE
    text = f"{found.median:.{kind.digits}f}"
    return Entry(text, number=found.median, quartiles=found.quartiles, digits=kind.digits)


def _found(rows: Rows, method: str, metric: str, kind: Metric) -> Entry:
    found = where_found(rows, method, metric)
    return NONE if found is None else Entry(f"{found:.{kind.digits}f}", number=found)


def _failures(rows: Rows, method: str) -> tuple[Entry, Entry]:
    found = cell(rows, method, "dice")
    if found is None:
        return NONE, NONE
    return (
        Entry(f"{found.missed} of {found.with_lesion}"),
        Entry(f"{found.false_alarms} of {found.without_lesion}"),
    )


_NOTE = (
    "Over test scans, those of all seeds together; below a median the quartiles. Best in bold. "
    "Distances: medians over the tests with a lesion, a missed one counting as the diagonal of the "
    "volume; means over those in which something was found. Missed: tests with a lesion in which "
    "nothing was found. False alarms: tests without one in which something was."
)


def all_metrics_table(
    rows: Rows,
    methods: Sequence[str],
    labels: Labels,
    title: str = "All metrics",
    *,
    explained: bool = True,
) -> Table:
    """One line per method: every metric, missed lesions and false alarms.

    Args:
        rows: Rows of ``metrics.csv``.
        methods: Methods, in the order of the table.
        labels: Their names.
        title: Title.
        explained: Whether a note says what the columns are; once is enough.

    Returns:
        The table.

    Raises:
        UserError: If a method has no results, or the rows are faulty.
    """
    complete, lacking = complete_of(rows, methods, labels)
    columns: dict[str, list[Entry]] = {}
    for metric, kind in METRICS.items():
        unit, arrow = f" ({kind.unit})" if kind.unit else "", "↑" if kind.higher_is_better else "↓"
        fills = {f"{kind.label}{unit}, median {arrow}": _middle}
        if metric == "dice":
            fills = {f"{kind.label}, mean {arrow}": _mean} | fills
        for name, fill in fills.items():
            cells = [fill(rows, method, metric, kind) for method in methods]
            columns[name] = mark(cells, kind.higher_is_better, kind.digits, complete)
        if unit:
            # Not marked: whoever misses the hard ones has the shorter distances.
            name = f"{kind.label}{unit}, mean where found"
            columns[name] = [_found(rows, method, metric, kind) for method in methods]
    lines = [
        (
            Entry(labels.get(method, method)),
            *(column[index] for column in columns.values()),
            *_failures(rows, method),
        )
        for index, method in enumerate(methods)
    ]
    return Table(
        title,
        ("Method", *columns, "Missed", "False alarms"),
        tuple(lines),
        ((_NOTE if explained else "") + lacking).strip(),
    )
