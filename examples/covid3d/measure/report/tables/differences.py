"""Every method against every reference, test by test."""

from __future__ import annotations

from collections.abc import Sequence

from examples.covid3d.measure.report.page.markup import Entry, Table
from examples.covid3d.measure.report.statistics.holm import holm
from examples.covid3d.measure.report.statistics.measured import METRICS, Rows
from examples.covid3d.measure.report.statistics.paired import (
    FEWEST_PATIENTS,
    Difference,
    difference,
    unpaired,
)
from examples.covid3d.measure.report.statistics.sentences import p_text, signed
from examples.covid3d.measure.report.tables.cells import NONE, Labels

_BEYOND = {True: "yes", False: "no", None: "too few seeds"}


def _difference_cells(found: Difference, adjusted: float | None) -> tuple[Entry, ...]:
    digits = METRICS[found.metric].digits
    interval = (
        f"{signed(found.interval[0], digits)} to {signed(found.interval[1], digits)}"
        if found.interval
        else "–"
    )
    spread = Entry(f"{found.std:.{digits}f}", number=found.std) if found.seeds > 1 else NONE
    return (
        Entry(signed(found.mean, digits), number=found.mean),
        spread,
        Entry(interval),
        Entry(f"{found.better} / {found.worse} of {found.patients}"),
        Entry(p_text(found.wilcoxon), number=found.wilcoxon),
        Entry(p_text(adjusted), number=adjusted),
        Entry(_BEYOND[found.beyond_seeds]),
    )


def differences_table(
    rows: Rows,
    methods: Sequence[str],
    references: Sequence[str],
    labels: Labels,
    metric: str = "dice",
    title: str = "Paired differences",
) -> Table:
    """Every method against every reference, test by test.

    Args:
        rows: Rows of ``metrics.csv``.
        methods: Methods, in the order of the table.
        references: What each is compared with: equal weights, random weights, supervised-all, ….
        labels: Their names.
        metric: A key of ``METRICS``.
        title: Title.

    Returns:
        The table. Holm's correction is over the methods that are compared with one reference. Two
        methods that were not tested alike are not compared, and the note says what is missing.

    Raises:
        UserError: If a method has no results, or the rows are faulty.
    """
    lines: list[tuple[Entry, ...]] = []
    missing = ""
    for reference in references:
        others = [method for method in methods if method != reference]
        faults = {m: unpaired(rows, m, reference) for m in others}
        found = [difference(rows, m, reference, metric) for m in others if faults[m] is None]
        adjusted = dict(zip([d.a for d in found], holm(d.wilcoxon for d in found), strict=True))
        compared = {d.a: _difference_cells(d, adjusted[d.a]) for d in found}
        for m in others:
            cells = compared.get(m, (Entry("not compared"), *[NONE] * 6))
            lines.append((Entry(labels.get(reference, reference)), Entry(labels.get(m, m)), *cells))
            missing += f" Not compared: {faults[m]}." if faults[m] else ""
    kind = METRICS[metric]
    unit = f" ({kind.unit})" if kind.unit else ""
    return Table(
        title,
        (
            "Against",
            "Method",
            f"Difference in {kind.label}{unit}",
            "Std over seeds",
            "95 % CI over patients",
            "Better / worse",
            "p",
            "p (Holm)",
            "Larger than the spread between seeds?",
        ),
        tuple(lines),
        f"Method minus reference; {'above' if kind.higher_is_better else 'below'} zero the method "
        "is better. Mean over seeds of the mean over test scans. The interval (bootstrap) and p "
        "(two-sided Wilcoxon signed-rank test) are over patients, each counted once, and need "
        f"{FEWEST_PATIENTS} of them; Holm's correction is over the methods compared with the same "
        "reference. Larger than the spread: the difference exceeds its own standard deviation over "
        "seeds; three seeds pass that by chance once in four or five times." + missing,
        grouped=True,
    )
