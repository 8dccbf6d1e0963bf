"""Exponents of power laws, by least squares on logarithms."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from benchmarks.meta_step.timing import ratios
from benchmarks.scaling.sweep import Point


def exponent(values: Sequence[float], measured: Sequence[float]) -> float | None:
    """Return e of measured ∝ valueᵉ, or ``None`` for fewer than two different values.

    Args:
        values: Positive.
        measured: Positive, one for each value.
    """
    if len(set(values)) < 2:
        return None
    logarithms = [math.log(m) for m in measured]
    return statistics.linear_regression([math.log(v) for v in values], logarithms).slope


@dataclass(frozen=True)
class Series:
    """One method along one axis.

    Attributes:
        axis: The axis' name.
        method: The method's.
        values: Where it was measured.
        seconds: Medians.
        ratios: Medians of the ratio to plain, round by round.
        time_exponent: Of the seconds.
        ratio_exponent: Of the ratio.
        note: Why it ends early, if it does.
    """

    axis: str
    method: str
    values: tuple[int, ...]
    seconds: tuple[float, ...]
    ratios: tuple[float, ...]
    time_exponent: float | None
    ratio_exponent: float | None
    note: str | None


def series(points: Iterable[Point], axis: str, method: str) -> Series:
    """Return one method's series along one axis."""
    own = [point for point in points if point.axis == axis]
    both = [p for p in own if method in p.seconds and "plain" in p.seconds]
    values = tuple(point.value for point in both)
    seconds = tuple(statistics.median(point.seconds[method]) for point in both)
    relative = tuple(
        statistics.median(ratios(point.seconds[method], point.seconds["plain"])) for point in both
    )
    noted = [f"at {p.value:,}: {p.notes[method]}" for p in own if method in p.notes]
    return Series(
        axis,
        method,
        values,
        seconds,
        relative,
        exponent(values, seconds),
        exponent(values, relative),
        noted[0] if noted else None,
    )
