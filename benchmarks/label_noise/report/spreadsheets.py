"""The results as CSV: one row per run used, and one per cell."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from statistics import fmean

from benchmarks.label_noise.record import Record
from benchmarks.label_noise.report.outcomes import Outcome, Outcomes
from benchmarks.label_noise.report.statistics import mean_and_deviation

_CELL = ("noise", "trusted", "method")
_OF_RUN: dict[str, Callable[[Record], float | None]] = {
    "validation": lambda record: record.validation[-1],
    "test": lambda record: record.test,
    "early_epoch": lambda record: record.early_epoch + 1,
    "early_test": lambda record: record.early_test,
    "rare_test": lambda record: record.rare_test,
    "weight_on_clean": lambda record: over_epochs(record.weight_on_clean),
    "clean_share": lambda record: record.clean_share,
    "weight_on_rare": lambda record: over_epochs(record.weight_on_rare),
    "rare_share": lambda record: record.rare_share,
    "kept": lambda record: over_epochs(record.kept),
    "effective": lambda record: over_epochs(record.effective),
    "empty_steps": lambda record: record.empty_steps,
    "pool_truth": lambda record: record.pool_truth,
    "pool_labels": lambda record: record.pool_labels,
    "teacher": lambda record: record.teacher,
    "diverged": lambda record: int(record.diverged),
    "seconds": lambda record: record.seconds,
}


def over_epochs(values: Sequence[float] | None) -> float | None:
    """Return the mean over the epochs, which all have as many steps; ``None`` without values."""
    return fmean(values) if values else None


def results_csv(found: Outcomes) -> str:
    """Return one row per run at its cell's tuned rate; accuracies and shares from 0 to 1."""
    rows = [
        [*_cell(outcome), record.run.rate, seed, *(of(record) for of in _OF_RUN.values())]
        for outcome in found.values()
        for seed, record in outcome.records.items()
    ]
    return _csv([*_CELL, "rate", "seed", *_OF_RUN], rows)


def cells_csv(found: Outcomes) -> str:
    """Return one row per cell that has a tuned rate: mean and deviation over its seeds."""
    names = [f"{name}_{kind}" for name in _OF_RUN for kind in ("mean", "std")]
    rows = []
    for outcome in found.values():
        if outcome.records:
            values: list[object] = []
            for of in _OF_RUN.values():
                values += _summary([of(record) for record in outcome.records.values()])
            head = [*_cell(outcome), outcome.rate, int(outcome.at_edge), len(outcome.records)]
            rows.append([*head, *values])
    return _csv([*_CELL, "rate", "rate_at_edge", "n", *names], rows)


def of_run(name: str, record: Record) -> float | None:
    """Return a record's value in the column of that name."""
    return _OF_RUN[name](record)


def _summary(values: Sequence[float | None]) -> list[object]:
    known = [value for value in values if value is not None]
    return list(mean_and_deviation(known)) if known else [None, None]


def _cell(outcome: Outcome) -> list[object]:
    cell = outcome.cell
    return [cell.noise, cell.trusted, cell.method]


def _csv(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()
