"""What each cell has come to so far."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.label_noise.cells import Cell, Run, cell_of, cells, tuned_rate
from benchmarks.label_noise.record import Record
from benchmarks.label_noise.settings import Plan


@dataclass(frozen=True)
class Outcome:
    """A cell's tuned rate and the runs made at it.

    Attributes:
        cell: Which.
        rate: Tuned learning rate; ``None`` if tuning is not complete.
        at_edge: Whether that is the smallest or the largest of three rates or more.
        records: Runs at that rate, by seed.
        missing: How many of the plan's seeds are missing.
        tuning: Validation accuracy in the last epoch by rate, on seed 0.
    """

    cell: Cell
    rate: float | None
    at_edge: bool
    records: dict[int, Record]
    missing: int
    tuning: dict[float, float]


Outcomes = Mapping[Cell, Outcome]


def outcomes(plan: Plan, records: Mapping[Run, Record]) -> dict[Cell, Outcome]:
    """Return the outcome of every cell of the plan, in its order."""
    validated = {run: record.validation[-1] for run, record in records.items()}
    found = {}
    for cell in cells(plan):
        rate = tuned_rate(cell, plan, validated)
        runs = [] if rate is None else [Run(cell, rate, seed) for seed in range(plan.seeds)]
        made = {run.seed: records[run] for run in runs if run in records}
        at_edge = len(plan.rates) > 2 and rate in (min(plan.rates), max(plan.rates))
        tried = {rate: Run(cell, rate, 0) for rate in sorted(plan.rates)}
        found[cell] = Outcome(
            cell=cell,
            rate=rate,
            at_edge=at_edge,
            records=made,
            missing=plan.seeds - len(made),
            tuning={rate: validated[run] for rate, run in tried.items() if run in validated},
        )
    return found


def row(found: Outcomes, noise: str, trusted: int, method: str) -> Outcome | None:
    """Return the outcome that stands in a table's row, or ``None`` if the plan has none."""
    return found.get(cell_of(noise, trusted, method))
