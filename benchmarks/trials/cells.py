"""Cells of an experiment, the runs in them, and how each cell's learning rate is tuned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

from benchmarks.trials.plans import Plan, TaskPlan
from benchmarks.trials.rows import ROWS

Stop = Literal["last", "best"]
"""Which epoch is judged: the last, or the one that was best on validation data."""


@dataclass(frozen=True)
class Cell:
    """A task, a trusted size (``None`` where nothing depends on it) and a row."""

    task: str
    trusted: int | None
    row: str


@dataclass(frozen=True)
class Run:
    """One training: a cell at a learning rate and a seed."""

    cell: Cell
    rate: float
    seed: int

    @property
    def name(self) -> str:
        """A file name without its ending."""
        size = "any" if self.cell.trusted is None else self.cell.trusted
        return f"{self.cell.task}_{size}_{self.cell.row}_lr{self.rate!r}_seed{self.seed}"


@dataclass(frozen=True)
class Validated:
    """What tuning looks at: validation in the last and in the best epoch. Never the test set."""

    last: float
    best: float


Done = Mapping[Run, Validated]


def cell_of(plan: TaskPlan, trusted: int, row: str) -> Cell:
    """Return the cell that a row's result with this trusted size comes from.

    A teacher's labels depend on the trusted set it learnt from, a pool that gives up its trusted
    texts is smaller, and traces in the trusted set are looked for in plain training: with them
    every row does.
    """
    setting = plan.setting
    shapes_pool = setting.noise == "teacher" or plan.unit.endswith("a class")
    depends = ROWS[row].needs_trusted or shapes_pool or setting.finds
    return Cell(plan.name, trusted if depends else None, row)


def cells_of(plan: TaskPlan) -> list[Cell]:
    """Return the cells of a task, each once."""
    return list(
        dict.fromkeys(cell_of(plan, size, row) for size in plan.trusted for row in plan.rows)
    )


def cells(plan: Plan) -> list[tuple[TaskPlan, Cell]]:
    """Return the cells of a plan, each once, task by task."""
    return [(task, cell) for task in plan for cell in cells_of(task)]


def runs_per_cell(plan: TaskPlan) -> int:
    """Return how many runs a cell comes to, if it has one rate for either epoch."""
    tried = len(plan.tuning_seeds)
    return len(plan.rates) * tried + plan.seeds - tried


def stops_of(cell: Cell) -> tuple[Stop, ...]:
    """Return for which epochs a cell's rate is tuned."""
    return ("last", "best") if ROWS[cell.row].stops else ("last",)


def tuned_rate(cell: Cell, plan: TaskPlan, done: Done, stop: Stop = "last") -> float | None:
    """Return the learning rate of a cell, or ``None`` while it is not known.

    The best by the mean over the first seeds, on which all are tried. Of equals the smaller wins.
    """
    tried = plan.tuning_seeds
    rates = sorted(plan.rates)
    if any(Run(cell, rate, seed) not in done for rate in rates for seed in tried):
        return None
    return max(
        rates,
        key=lambda rate: fmean(getattr(done[Run(cell, rate, seed)], stop) for seed in tried),
    )


def next_runs(cell: Cell, plan: TaskPlan, done: Done) -> list[Run]:
    """Return the runs of a cell that can be made now; none if it is complete."""
    wanted = [Run(cell, rate, seed) for seed in plan.tuning_seeds for rate in sorted(plan.rates)]
    for stop in stops_of(cell):
        rate = tuned_rate(cell, plan, done, stop)
        if rate is not None:
            wanted += [Run(cell, rate, seed) for seed in plan.all_seeds]
    return [run for run in dict.fromkeys(wanted) if run not in done]
