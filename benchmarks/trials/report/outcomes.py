"""What each cell has come to so far."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from statistics import fmean

from benchmarks.trials.cells import Cell, Run, cell_of, cells, stops_of, tuned_rate
from benchmarks.trials.plans import Plan, TaskPlan
from benchmarks.trials.record import Record


@dataclass(frozen=True)
class Outcome:
    """A cell's tuned rate and the runs made at it.

    Attributes:
        cell: Which.
        rate: Learning rate, tuned for the last epoch; ``None`` if tuning is not complete.
        at_edge: Whether that is the smallest or the largest of three rates or more.
        records: Runs at that rate, by seed.
        missing: How many of the plan's seeds are missing.
        tuning: Validation in the last epoch by rate, on the first seed.
        stopped: Runs at the rate tuned for the best epoch, by seed; those of ``records`` for a
            row that is not tuned for it.
        stopped_rate: That rate.
    """

    cell: Cell
    rate: float | None
    at_edge: bool
    records: dict[int, Record]
    missing: int
    tuning: dict[float, float]
    stopped: dict[int, Record] = field(default_factory=dict)
    stopped_rate: float | None = None

    def mean(self) -> float | None:
        """Return the mean of the last epoch over the seeds; ``None`` without any."""
        return fmean(record.test for record in self.records.values()) if self.records else None

    def mean_stopped(self) -> float | None:
        """Return the mean of the best epoch over the seeds; ``None`` without any."""
        made = self.stopped.values()
        return fmean(record.early_test for record in made) if made else None

    def values(self, of: Callable[[Record], float | None]) -> list[float]:
        """Return a number of every run in which it is known."""
        found = (of(record) for record in self.records.values())
        return [value for value in found if value is not None]


@dataclass(frozen=True)
class Outcomes:
    """Of every cell of a plan, in its order."""

    plan: Plan
    by_cell: Mapping[Cell, Outcome]

    def row(self, task: TaskPlan, trusted: int, name: str) -> Outcome | None:
        """Return the outcome that stands in a table's row, or ``None`` if the plan has none."""
        return self.by_cell.get(cell_of(task, trusted, name))

    def task(self, name: str) -> TaskPlan | None:
        """Return the task of that name, or ``None`` if the plan has none."""
        return next((task for task in self.plan if task.name == name), None)


def outcomes(plan: Plan, records: Mapping[Run, Record]) -> Outcomes:
    """Return the outcome of every cell of the plan."""
    validated = {run: record.validated for run, record in records.items()}
    found = {}
    for task, cell in cells(plan):
        rate = tuned_rate(cell, task, validated)
        made = _made(cell, rate, task, records)
        stopped_rate = rate
        if "best" in stops_of(cell):
            stopped_rate = tuned_rate(cell, task, validated, "best")
        stopped = _made(cell, stopped_rate, task, records)
        tried = {rate: Run(cell, rate, task.first) for rate in sorted(task.rates)}
        found[cell] = Outcome(
            cell=cell,
            rate=rate,
            at_edge=len(task.rates) > 2 and rate in (min(task.rates), max(task.rates)),
            records=made,
            missing=2 * task.seeds - len(made) - len(stopped)
            if stopped_rate != rate
            else task.seeds - len(made),
            tuning={rate: validated[run].last for rate, run in tried.items() if run in validated},
            stopped=stopped,
            stopped_rate=stopped_rate,
        )
    return Outcomes(plan, found)


def _made(
    cell: Cell, rate: float | None, task: TaskPlan, records: Mapping[Run, Record]
) -> dict[int, Record]:
    if rate is None:
        return {}
    runs = [Run(cell, rate, seed) for seed in task.all_seeds]
    return {run.seed: records[run] for run in runs if run in records}
