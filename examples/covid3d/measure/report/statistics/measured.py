"""The rows of ``metrics.csv``: which columns are compared, and a method's results by test."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from examples.covid3d.common.errors import problem

Rows = Sequence[Mapping[str, str]]
Key = tuple[str, str, str]


@dataclass(frozen=True)
class Metric:
    """How a column of ``metrics.csv`` is read: its name, unit, direction and printed digits."""

    label: str
    unit: str
    higher_is_better: bool
    digits: int

    @property
    def heading(self) -> str:
        """Name, unit and the direction that is better."""
        unit = f" ({self.unit})" if self.unit else ""
        return f"{self.label}{unit} {'↑' if self.higher_is_better else '↓'}"


METRICS: Mapping[str, Metric] = {
    "dice": Metric("Dice", "", True, 3),
    "hd_mm": Metric("HD", "mm", False, 2),
    "hd95_mm": Metric("HD95", "mm", False, 2),
    "nsd": Metric("NSD", "", True, 3),
}
"""Columns that are compared."""


def numeric(name: str) -> tuple[float, str]:
    """Sorts seeds and folds as numbers where they are numbers."""
    return (float(name), name) if name.lstrip("-").isdecimal() else (math.inf, name)


def number(row: Mapping[str, str], column: str) -> float:
    """A cell as a finite number.

    Raises:
        UserError: If it is none.
    """
    try:
        value = float(row[column])
    except (KeyError, ValueError):
        value = math.nan
    if not math.isfinite(value):
        raise problem(
            "metrics.csv",
            f"{column} of {row['method']} is {row.get(column)!r} for {where(key_of(row))}",
            "a finite number",
            "run the stage evaluate again",
        )
    return value


def key_of(row: Mapping[str, str]) -> Key:
    """Which test a row is of: seed, fold and scan."""
    return row["seed"], row["fold"], row["scan"]


def where(key: Key) -> str:
    """A test in words."""
    return f"seed {key[0]}, fold {key[1]}, scan {key[2]}"


def _order(key: Key) -> tuple[object, ...]:
    return numeric(key[0]), numeric(key[1]), key[2]


def rows_of(rows: Rows, method: str) -> dict[Key, Mapping[str, str]]:
    """The rows of a method by (seed, fold, scan), in that order, whatever the order of ``rows``.

    Raises:
        UserError: If it has none, or two for one test.
    """
    found: dict[Key, Mapping[str, str]] = {}
    for row in rows:
        if row["method"] != method:
            continue
        if key_of(row) in found:
            raise problem(
                "metrics.csv",
                f"two results of {method} for {where(key_of(row))}",
                "one",
                "run the stage evaluate again",
            )
        found[key_of(row)] = row
    if not found:
        raise problem(
            "metrics.csv",
            f"no result of {method}",
            "one row per test scan",
            "evaluate that method, or leave it out of the report",
        )
    return {key: found[key] for key in sorted(found, key=_order)}


def spread(values: Sequence[float]) -> tuple[float, float]:
    """Mean and standard deviation, n - 1 in the denominator; 0 for a single value."""
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    return float(np.mean(values)), deviation


def means_by(values: Mapping[Key, float], group: Mapping[Key, str]) -> dict[str, float]:
    """Mean of the values of each group."""
    grouped: dict[str, list[float]] = {}
    for key, value in values.items():
        grouped.setdefault(group[key], []).append(value)
    return {name: float(np.mean(members)) for name, members in grouped.items()}
