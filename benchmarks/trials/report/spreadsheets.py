"""The results as CSV: one row per run, one per cell, and one per way of finding wrong labels."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import fmean

from benchmarks.trials.cells import Run
from benchmarks.trials.record import Record
from benchmarks.trials.report.outcomes import Outcome, Outcomes
from benchmarks.trials.report.statistics import mean_and_deviation

_CELL = ("task", "trusted", "row")
_OF_RUN: dict[str, Callable[[Record], float | None]] = {
    "validation": lambda record: record.validation[-1],
    "test": lambda record: record.test,
    "early_epoch": lambda record: record.early_epoch + 1,
    "early_validation": lambda record: record.validation[record.early_epoch],
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
    "seconds": lambda record: round(record.seconds, 1),
}


def over_epochs(values: Sequence[float] | None) -> float | None:
    """Return the mean over the epochs, which all have as many steps; ``None`` without values."""
    return fmean(values) if values else None


def results_csv(found: Outcomes, records: Mapping[Run, Record]) -> str:
    """Return one row per run, those that tuned its cell included; accuracies from 0 to 1.

    ``tuned`` says whether the run has the rate that its cell is reported at, ``tuned_early``
    whether it has the one for the best epoch.
    """
    rows = []
    for outcome in found.by_cell.values():
        for run, record in sorted(records.items(), key=lambda pair: (pair[0].seed, pair[0].rate)):
            if run.cell == outcome.cell:
                chosen = [int(run.rate == rate) for rate in (outcome.rate, outcome.stopped_rate)]
                values = [of(record) for of in _OF_RUN.values()]
                rows.append([*_cell(outcome), run.rate, run.seed, *chosen, *values])
    return _csv([*_CELL, "rate", "seed", "tuned", "tuned_early", *_OF_RUN], rows)


def cells_csv(found: Outcomes) -> str:
    """Return one row per cell that has a tuned rate: mean and deviation over its seeds."""
    names = [f"{name}_{kind}" for name in _OF_RUN for kind in ("mean", "std")]
    rows = []
    for outcome in found.by_cell.values():
        if outcome.records:
            values: list[object] = []
            for of in _OF_RUN.values():
                values += _summary([of(record) for record in outcome.records.values()])
            head = [*_cell(outcome), outcome.rate, int(outcome.at_edge), len(outcome.records)]
            rows.append([*head, *values])
    return _csv([*_CELL, "rate", "rate_at_edge", "n", *names], rows)


def finding_csv(found: Outcomes) -> str:
    """Return one row per way of finding wrong labels and run at the tuned rate."""
    names = ("auroc", "precision", "at_number", "suggested")
    rows = [
        [*_cell(outcome), way, record.run.rate, seed, *(values.get(name) for name in names)]
        for outcome in found.by_cell.values()
        for seed, record in outcome.records.items()
        for way, values in record.found.items()
    ]
    return _csv([*_CELL, "way", "rate", "seed", *names], rows)


def of_run(name: str, record: Record) -> float | None:
    """Return a record's value in the column of that name."""
    return _OF_RUN[name](record)


def _summary(values: Sequence[float | None]) -> list[object]:
    known = [value for value in values if value is not None]
    return list(mean_and_deviation(known)) if known else [None, None]


def _cell(outcome: Outcome) -> list[object]:
    cell = outcome.cell
    return [cell.task, cell.trusted, cell.row]


def _csv(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()
