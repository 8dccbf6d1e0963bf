"""Which test scans are shown: the best, the median and the worst, by a rule and not by looks."""

from __future__ import annotations

from dataclasses import dataclass

from examples.covid3d.measure.report.statistics.measured import Key, Rows, number, rows_of


@dataclass(frozen=True)
class Case:
    """A test scan of one training.

    Attributes:
        rank: "best", "median" or "worst".
        key: Seed, fold and scan.
        dice: Of the headline row.
    """

    rank: str
    key: Key
    dice: float


def choose(rows: Rows, method: str) -> list[Case]:
    """The best, the median and the worst test of a row by Dice, fewer if it has fewer.

    Tests with a lesion, if there are any: in healthy lungs Dice is 0 or 1 and shows little.

    Args:
        rows: Rows of ``metrics.csv``.
        method: The row.
    """
    own = rows_of(rows, method)
    lesions = {key: row for key, row in own.items() if number(row, "expert_ml") > 0} or own
    # Of equals the first by name: the order does not hang on how a sort treats them.
    order = sorted(lesions, key=lambda key: (-number(lesions[key], "dice"), key))
    picked = {"best": 0, "median": len(order) // 2, "worst": len(order) - 1}
    if len(order) < len(picked):
        picked = dict(list({"best": 0, "worst": 1}.items())[: len(order)])
    return [Case(rank, order[i], number(lesions[order[i]], "dice")) for rank, i in picked.items()]
