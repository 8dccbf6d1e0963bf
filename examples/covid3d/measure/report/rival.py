"""nnU-Net's sentence: how it compares, on the tests that it has taken."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from examples.covid3d.measure.report.statistics.measured import Rows, key_of, rows_of
from examples.covid3d.measure.report.statistics.paired import difference
from examples.covid3d.measure.report.statistics.sentences import say
from examples.covid3d.measure.report.statistics.summary import over_seeds
from examples.covid3d.methods.rows import ROWS

RIVAL, ALIKE = "nnunet", "supervised-all"
"""nnU-Net, and the row that learns from the same scans."""


def beside_nnunet(rows: Rows, methods: Sequence[str], names: Mapping[str, str]) -> list[str]:
    """Compares nnU-Net with the row that learnt from the same scans, and with the highest row.

    nnU-Net takes no seed of ours, and may have been imported for one fold only: rows are compared
    on the tests that it has, and where those are not all there are, the sentence says so.

    Args:
        rows: Rows of ``metrics.csv``.
        methods: Rows that were measured.
        names: What to call them.

    Returns:
        Sentences; none where nnU-Net was not imported, or no other row has taken its tests.
    """
    if RIVAL not in methods:
        return []
    taken = set(rows_of(rows, RIVAL))
    shared = [row for row in rows if key_of(row) in taken]
    others = [
        method
        for method in methods
        if method != RIVAL and not ROWS[method].told and taken <= set(rows_of(rows, method))
    ]
    if not others:
        return []
    means = {method: over_seeds(shared, method, "dice").mean for method in others}
    highest = max(others, key=lambda method: means[method])
    asked = dict.fromkeys([ALIKE, highest] if ALIKE in others else [highest])
    every = {key_of(row) for row in rows}
    part = ""
    if taken != every:
        part = f" (on the {len(taken)} of {len(every)} tests that nnU-Net was imported for)"
    return [
        say(difference(shared, RIVAL, other), names).removesuffix(".") + f"{part}."
        for other in asked
    ]
