"""Two methods compared where both were tested: the same scan, fold and seed.

There are two sources of chance, and each is reported by itself:

- *Patients*: would other patients give another answer? The differences are averaged over the
  scans, seeds and folds of a patient first, because those are not independent; then come the
  tests and the bootstrap, with one value per patient.
- *Seeds*: would training again give another answer? See :attr:`Difference.beyond_seeds`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from examples.covid3d.common.errors import problem
from examples.covid3d.measure.report.statistics.measured import (
    METRICS,
    Rows,
    means_by,
    number,
    rows_of,
    spread,
    where,
)

FEWEST_PATIENTS = 6
"""Below, no test and no interval: with five, a two-sided signed-rank p cannot be below 0.0625."""

FEWEST_SEEDS = 3
"""Below, a spread between seeds says nothing."""

_RESAMPLES = 10_000


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
            return f"{lacks} has no result for {where(missing[0])}{more}, which {has} has"
    for key, row in one.items():
        if row["patient"] != other[key]["patient"]:
            return (
                f"{where(key)} is of patient {row['patient']} for {a} and of "
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
    gains = {k: round(number(one[k], metric) - number(other[k], metric), 12) for k in one}
    per_seed = list(means_by(gains, {key: key[0] for key in gains}).values())
    by_patient = means_by(gains, {key: one[key]["patient"] for key in gains})
    values = np.array([by_patient[name] for name in sorted(by_patient)]).round(12)
    mean, std = spread(per_seed)
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
