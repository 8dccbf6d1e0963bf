"""From measurements to the figures of a table: medians, quartiles, ratios to plain."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks.meta_step.memory import Peak
from benchmarks.meta_step.timing import above, ratios


@dataclass
class Measurement:
    """All that was measured on one setup.

    Attributes:
        describes: The setup in words.
        setup: And as it was asked for.
        methods: Every method that was asked for, in order.
        seconds: One for each round, by method.
        peaks: By method.
        time_errors: Why a method lacks times.
        memory_errors: Why a method lacks peaks.
    """

    describes: str
    setup: dict[str, Any]
    methods: list[str]
    seconds: dict[str, list[float]] = field(default_factory=dict)
    peaks: dict[str, Peak] = field(default_factory=dict)
    time_errors: dict[str, str] = field(default_factory=dict)
    memory_errors: dict[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return the attributes by name, all plain containers."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Measurement:
        """Return what :meth:`as_json` was called on."""
        peaks = {name: Peak(**peak) for name, peak in content["peaks"].items()}
        return cls(**{**content, "peaks": peaks})


@dataclass(frozen=True)
class SummaryRow:
    """One method's figures; what could not be measured is ``None``.

    Attributes:
        method: Its name.
        time: First quartile, median and third quartile of its time in units of plain's.
        above_floor: Median of its time above the floor's, in units of plain's.
        seconds: Median of its time.
        tensors: Peak of its tensors in MiB.
        tensors_ratio: The same in units of plain's.
        resident: Peak of resident memory in MiB.
        resident_ratio: The same in units of plain's.
        time_error: Why there are no times.
        memory_error: Why there are no peaks.
    """

    method: str
    time: tuple[float, float, float] | None
    above_floor: float | None
    seconds: float | None
    tensors: float | None
    tensors_ratio: float | None
    resident: float | None
    resident_ratio: float | None
    time_error: str | None
    memory_error: str | None


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """Return first quartile, median and third quartile; one value is all three."""
    if len(values) < 2:
        return values[0], values[0], values[0]
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high


def rows(measured: Measurement) -> list[SummaryRow]:
    """Return a row for each method."""
    return [_row(method, measured) for method in measured.methods]


def _row(method: str, measured: Measurement) -> SummaryRow:
    own = measured.seconds.get(method)
    plain, floor = measured.seconds.get("plain"), measured.seconds.get("floor")
    peak, base = measured.peaks.get(method), measured.peaks.get("plain")
    over_floor = above(own, floor, plain) if own and floor and plain else None
    tensors, resident = (peak.tensors, peak.resident) if peak else (None, None)
    return SummaryRow(
        method,
        time=quartiles(ratios(own, plain)) if own and plain else None,
        above_floor=statistics.median(over_floor) if over_floor else None,
        seconds=statistics.median(own) if own else None,
        tensors=tensors,
        tensors_ratio=_over(tensors, base.tensors if base else None),
        resident=resident,
        resident_ratio=_over(resident, base.resident if base else None),
        time_error=measured.time_errors.get(method),
        memory_error=measured.memory_errors.get(method),
    )


def _over(own: float | None, base: float | None) -> float | None:
    return own / base if own is not None and base else None
