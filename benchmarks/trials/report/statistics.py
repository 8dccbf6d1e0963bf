"""Means, spreads and paired differences over seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from scipy import stats


@dataclass(frozen=True)
class Difference:
    """A mean difference and its 95 % interval by Student's t; no interval for one pair."""

    mean: float
    low: float | None
    high: float | None
    pairs: int


def mean_and_deviation(values: Sequence[float]) -> tuple[float, float | None]:
    """Return the mean and the sample standard deviation, which one value does not have."""
    return fmean(values), stdev(values) if len(values) > 1 else None


def paired_difference(ours: Mapping[int, float], theirs: Mapping[int, float]) -> Difference | None:
    """Return the difference ``ours - theirs`` over the seeds that both have; ``None`` if none."""
    gains = [ours[seed] - theirs[seed] for seed in sorted(ours.keys() & theirs.keys())]
    if not gains:
        return None
    mean, deviation = mean_and_deviation(gains)
    if deviation is None:
        return Difference(mean, None, None, 1)
    quantile = float(stats.t.ppf(0.975, len(gains) - 1))
    half = quantile * deviation / math.sqrt(len(gains))
    return Difference(mean, mean - half, mean + half, len(gains))
