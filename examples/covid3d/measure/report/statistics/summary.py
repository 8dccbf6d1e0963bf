"""A method's metric over the tests: of a fold, of all, and of each seed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from examples.covid3d.measure.report.statistics.measured import (
    Rows,
    means_by,
    number,
    rows_of,
    spread,
)


@dataclass(frozen=True)
class Cell:
    """A metric of one method over the tests of a fold, or of all folds; all seeds together.

    Attributes:
        tests: How many: test scans × seeds.
        mean: Mean over them.
        std: Standard deviation over them, n - 1 in the denominator; 0 for a single one.
        missed: Tests with a lesion in which nothing was found.
        with_lesion: Tests with a lesion.
        false_alarms: Tests without a lesion in which something was found.
        without_lesion: Tests without one.
    """

    tests: int
    mean: float
    std: float
    missed: int
    with_lesion: int
    false_alarms: int
    without_lesion: int


def cell(rows: Rows, method: str, metric: str, fold: str | None = None) -> Cell | None:
    """Summarises a method in one fold, or in all; None if it was not tested in that fold.

    Raises:
        UserError: If the method has no results at all, two for one test, or one that is no number.
    """
    own = [row for key, row in rows_of(rows, method).items() if fold in (None, key[1])]
    if not own:
        return None
    mean, std = spread([number(row, metric) for row in own])
    lesions = sum(number(row, "expert_ml") > 0 for row in own)
    return Cell(
        tests=len(own),
        mean=mean,
        std=std,
        missed=sum(int(row["missed"]) for row in own),
        with_lesion=lesions,
        false_alarms=sum(int(row["false_alarm"]) for row in own),
        without_lesion=len(own) - lesions,
    )


@dataclass(frozen=True)
class Middle:
    """The middle of a metric over some tests: what a few penalties of 460 mm do not move.

    Attributes:
        median: Median.
        quartiles: The first and the third.
    """

    median: float
    quartiles: tuple[float, float]


def middle(rows: Rows, method: str, metric: str, *, with_lesion: bool = False) -> Middle | None:
    """Median and quartiles over all tests, or over those with a lesion; None without any.

    Raises:
        UserError: As :func:`cell`.
    """
    own = rows_of(rows, method).values()
    values = [number(row, metric) for row in own if not with_lesion or number(row, "expert_ml") > 0]
    if not values:
        return None
    low, median, high = (float(value) for value in np.percentile(values, (25, 50, 75)))
    return Middle(median, (low, high))


def where_found(rows: Rows, method: str, metric: str) -> float | None:
    """Mean over the tests in which there was a lesion and something was found; None without any.

    Distances to an empty mask are a penalty, not a distance, and are not among them: to be read
    beside the number of missed lesions.

    Raises:
        UserError: As :func:`cell`.
    """
    values = [
        number(row, metric)
        for row in rows_of(rows, method).values()
        if number(row, "expert_ml") > 0 and not int(row["missed"])
    ]
    return float(np.mean(values)) if values else None


@dataclass(frozen=True)
class Seeds:
    """A method's mean over all folds' test scans for each seed; their mean and std over seeds.

    The std has n - 1 in the denominator and is 0 for a single seed.
    """

    means: Mapping[str, float]
    mean: float
    std: float


def over_seeds(rows: Rows, method: str, metric: str) -> Seeds:
    """A method's mean for each seed.

    Raises:
        UserError: As :func:`cell`.
    """
    values = {key: number(row, metric) for key, row in rows_of(rows, method).items()}
    means = means_by(values, {key: key[0] for key in values})
    return Seeds(means, *spread(list(means.values())))
