"""Numbers of the report, from the rows of ``metrics.csv``: means, spreads, paired differences.

Two methods are compared only where both were tested: on the same scan, in the same fold, with the
same seed. There are two sources of chance, and each is reported by itself:

- *Patients*: would other patients give another answer? The differences are averaged over the
  scans, seeds and folds of a patient first, because those are not independent; then come the
  tests and the bootstrap, with one value per patient.
- *Seeds*: would training again give another answer? See :attr:`Difference.beyond_seeds`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from examples.covid3d.common.errors import problem

Rows = Sequence[Mapping[str, str]]
Key = tuple[str, str, str]

FEWEST_PATIENTS = 6
"""Below, no test and no interval: with five, a two-sided signed-rank p cannot be below 0.0625."""

FEWEST_SEEDS = 3
"""Below, a spread between seeds says nothing."""

_RESAMPLES = 10_000


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


def _number(row: Mapping[str, str], column: str) -> float:
    try:
        value = float(row[column])
    except (KeyError, ValueError):
        value = math.nan
    if not math.isfinite(value):
        raise problem(
            "metrics.csv",
            f"{column} of {row['method']} is {row.get(column)!r} for {_where(_key(row))}",
            "a finite number",
            "run the stage evaluate again",
        )
    return value


def _key(row: Mapping[str, str]) -> Key:
    return row["seed"], row["fold"], row["scan"]


def _where(key: Key) -> str:
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
        if _key(row) in found:
            raise problem(
                "metrics.csv",
                f"two results of {method} for {_where(_key(row))}",
                "one",
                "run the stage evaluate again",
            )
        found[_key(row)] = row
    if not found:
        raise problem(
            "metrics.csv",
            f"no result of {method}",
            "one row per test scan",
            "evaluate that method, or leave it out of the report",
        )
    return {key: found[key] for key in sorted(found, key=_order)}


def _spread(values: Sequence[float]) -> tuple[float, float]:
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    return float(np.mean(values)), deviation


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
    mean, std = _spread([_number(row, metric) for row in own])
    lesions = sum(_number(row, "expert_ml") > 0 for row in own)
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
    values = {key: _number(row, metric) for key, row in rows_of(rows, method).items()}
    means = _means(values, {key: key[0] for key in values})
    return Seeds(means, *_spread(list(means.values())))


def _means(values: Mapping[Key, float], group: Mapping[Key, str]) -> dict[str, float]:
    grouped: dict[str, list[float]] = {}
    for key, value in values.items():
        grouped.setdefault(group[key], []).append(value)
    return {name: float(np.mean(members)) for name, members in grouped.items()}


@dataclass(frozen=True)
class Difference:
    """Method ``a`` minus method ``b`` in a metric, test by test.

    Attributes:
        a: The first method.
        b: The second.
        metric: Column of ``metrics.csv``.
        per_seed: For each seed, the mean difference over its tests.
        mean: Their mean.
        std: Their standard deviation, n - 1 in the denominator; 0 for a single seed.
        seeds: How many there are.
        patients: How many there are.
        better: Patients for whom ``a`` is better, in the metric's direction.
        worse: Patients for whom it is worse.
        patient_mean: Mean over patients, each counted once: what the tests and the interval are
            about. It is ``mean`` if all patients have equally many tests.
        interval: 95 % confidence interval of ``patient_mean``: percentiles of the mean of patients
            drawn with replacement. None with fewer than six patients, where it is too narrow.
        wilcoxon: p of the two-sided Wilcoxon signed-rank test over patients. None with fewer than
            six patients, or if no patient's difference is other than zero.
        t_test: p of the two-sided paired t-test over patients. None in the same cases, and where
            all differences are equal.
        beyond_seeds: Whether ``|mean|`` is larger than ``std``: whether the difference is larger
            than it typically changes from one seed to the next. None with fewer than three seeds.
            The spread is that of the *paired* difference, so that what a seed does to both
            methods (an easy start, an unlucky split) is not held against either. It is a sieve
            and no test: were there no difference, three seeds would pass it by chance with a
            probability of 0.23, and five with 0.09. A "no" is the safer half of the answer.
    """

    a: str
    b: str
    metric: str
    per_seed: tuple[float, ...]
    mean: float
    std: float
    seeds: int
    patients: int
    better: int
    worse: int
    patient_mean: float
    interval: tuple[float, float] | None
    wilcoxon: float | None
    t_test: float | None
    beyond_seeds: bool | None


def unpaired(rows: Rows, a: str, b: str) -> str | None:
    """Says which test one of two methods lacks; None if both have the same ones."""
    one, other = rows_of(rows, a), rows_of(rows, b)
    for has, lacks, missing in (
        (a, b, [key for key in one if key not in other]),
        (b, a, [key for key in other if key not in one]),
    ):
        if missing:
            more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            return f"{lacks} has no result for {_where(missing[0])}{more}, which {has} has"
    for key, row in one.items():
        if row["patient"] != other[key]["patient"]:
            return (
                f"{_where(key)} is of patient {row['patient']} for {a} and of "
                f"{other[key]['patient']} for {b}"
            )
    return None


def difference(rows: Rows, a: str, b: str, metric: str = "dice") -> Difference:
    """Compares two methods on the tests that both have taken.

    Args:
        rows: Rows of ``metrics.csv``.
        a: The first method.
        b: The second.
        metric: A key of :data:`METRICS`.

    Returns:
        ``a`` minus ``b``.

    Raises:
        UserError: If a test of one of them is missing for the other, or as :func:`cell`.
    """
    if found := unpaired(rows, a, b):
        raise problem(
            "metrics.csv",
            found,
            f"the same seeds, folds and test scans for {a} and {b}",
            "finish the runs and evaluate both, or compare methods that were tested alike",
        )
    one, other = rows_of(rows, a), rows_of(rows, b)
    # Rounded, so that what should be zero or a tie is one whatever the order of the sums.
    gains = {k: round(_number(one[k], metric) - _number(other[k], metric), 12) for k in one}
    per_seed = list(_means(gains, {key: key[0] for key in gains}).values())
    by_patient = _means(gains, {key: one[key]["patient"] for key in gains})
    values = np.array([by_patient[name] for name in sorted(by_patient)]).round(12)
    mean, std = _spread(per_seed)
    better = values if METRICS[metric].higher_is_better else -values
    wilcoxon, t_test = _tests(values)
    return Difference(
        a=a,
        b=b,
        metric=metric,
        per_seed=tuple(per_seed),
        mean=mean,
        std=std,
        seeds=len(per_seed),
        patients=len(values),
        better=int((better > 0).sum()),
        worse=int((better < 0).sum()),
        patient_mean=float(values.mean()),
        interval=_bootstrap(values),
        wilcoxon=wilcoxon,
        t_test=t_test,
        beyond_seeds=abs(mean) > std if len(per_seed) >= FEWEST_SEEDS else None,
    )


def _tests(values: NDArray[np.float64]) -> tuple[float | None, float | None]:
    if len(values) < FEWEST_PATIENTS or not values.any():
        return None, None
    wilcoxon = float(stats.wilcoxon(values).pvalue)
    if np.ptp(values) == 0:
        return wilcoxon, None
    return wilcoxon, float(stats.ttest_1samp(values, 0.0).pvalue)


def _bootstrap(values: NDArray[np.float64]) -> tuple[float, float] | None:
    if len(values) < FEWEST_PATIENTS:
        return None
    drawn = np.random.default_rng(0).integers(len(values), size=(_RESAMPLES, len(values)))
    low, high = np.percentile(values[drawn].mean(1), (2.5, 97.5))
    return float(low), float(high)


def holm(p_values: Iterable[float | None]) -> list[float | None]:
    """Holm's (1979) correction of the p-values of one method compared with many.

    Args:
        p_values: One per comparison; None where there was no test, which counts as no comparison.

    Returns:
        Adjusted p-values in the same order, none below its own, none above 1.
    """
    given = list(p_values)
    ranked = sorted((p, index) for index, p in enumerate(given) if p is not None)
    adjusted: list[float | None] = [None] * len(given)
    largest = 0.0
    for rank, (p, index) in enumerate(ranked):
        largest = max(largest, min(1.0, p * (len(ranked) - rank)))
        adjusted[index] = largest
    return adjusted


def p_text(p: float | None) -> str:
    """A p-value in print; "–" where there was no test."""
    if p is None:
        return "–"
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def say(found: Difference, names: Mapping[str, str]) -> str:
    """One sentence on how two methods compare, whoever wins.

    Args:
        found: The comparison.
        names: What to call the methods; a method that is not in it goes by its own name.

    Returns:
        Whether the first is above the second, by how much, over how many seeds, whether that is
        more than the spread between seeds, and the p-value over patients.
    """
    metric = METRICS[found.metric]
    a, b = names.get(found.a, found.a), names.get(found.b, found.b)
    unit = f" {metric.unit}" if metric.unit else ""
    smallest = f"{10.0**-metric.digits:.{metric.digits}f}{unit}"
    level = round(abs(found.mean), metric.digits) == 0
    if level:
        text = f"{a} and {b} are level in {metric.label} (less than {smallest} apart)"
    else:
        where = "above" if found.mean > 0 else "below"
        better = "" if metric.higher_is_better else " (lower is better)"
        size = f"{abs(found.mean):.{metric.digits}f}{unit}"
        text = f"{a} is {where} {b} in {metric.label} by {size}{better}"
    spread = f"{found.std:.{metric.digits}f}{unit}"
    if found.beyond_seeds is None:
        few = "one seed" if found.seeds == 1 else f"{found.seeds} seeds"
        text += f", with {few}, too few to tell it from the spread between seeds"
    elif found.beyond_seeds:
        text += f", over {found.seeds} seeds, more than the spread between seeds ({spread})"
    else:
        text += f", over {found.seeds} seeds, no more than the spread between seeds ({spread})"
        text += "" if level else ", so that other seeds may say otherwise"
    if found.wilcoxon is not None:
        p = p_text(found.wilcoxon)
        return (
            f"{text}; over {found.patients} patients p {p if p[0] == '<' else f'= {p}'} (Wilcoxon "
            f"signed-rank test; better for {found.better}, worse for {found.worse})."
        )
    if found.patients < FEWEST_PATIENTS:
        one = found.patients == 1
        return (
            f"{text}; {'one patient is' if one else f'{found.patients} patients are'} too few "
            "for a test."
        )
    return f"{text}; it is zero for every one of {found.patients} patients."
