"""Cells of the experiment, the runs in them, and how each cell's learning rate is tuned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean

from benchmarks.label_noise.methods import METHODS
from benchmarks.label_noise.settings import Plan


@dataclass(frozen=True)
class Cell:
    """A noise, a trusted size (``None`` where nothing depends on it) and a method."""

    noise: str
    trusted: int | None
    method: str


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
        return f"{self.cell.noise}_{size}_{self.cell.method}_lr{self.rate!r}_seed{self.seed}"


# What tuning looks at: mean validation accuracy in the last epoch. Never the test set.
Validated = Mapping[Run, float]


def cell_of(noise: str, trusted: int, method: str) -> Cell:
    """Return the cell that a method's result with this trusted size comes from.

    A teacher's labels depend on the trusted set it learnt from, and with them every method.
    """
    depends = METHODS[method].needs_trusted or noise == "teacher"
    return Cell(noise, trusted if depends else None, method)


def cells(plan: Plan) -> list[Cell]:
    """Return the cells of a plan, each once, noise by noise."""
    found = [
        cell_of(noise, size, method)
        for noise in plan.noises
        for size in plan.trusted
        for method in plan.methods
        if not METHODS[method].only or noise in METHODS[method].only
    ]
    return list(dict.fromkeys(found))


def runs_per_cell(plan: Plan) -> int:
    """Return how many runs a cell comes to."""
    second = min(2, len(plan.rates)) if plan.seeds > 1 else 0
    return len(plan.rates) + second + max(0, plan.seeds - 2)


def tuned_rate(cell: Cell, plan: Plan, done: Validated) -> float | None:
    """Return the learning rate of a cell, or ``None`` while it is not known.

    All rates are tried on seed 0, the best two on seed 1 too; the best by the mean of both is
    taken. Of equals the smaller wins.
    """
    seeds = (0, 1) if plan.seeds > 1 else (0,)
    rates = _ranked(cell, sorted(plan.rates), (0,), done)
    if rates is not None and len(seeds) > 1:
        rates = _ranked(cell, sorted(rates[:2]), seeds, done)
    return rates[0] if rates else None


def next_runs(cell: Cell, plan: Plan, done: Validated) -> list[Run]:
    """Return the runs of a cell that can be made now; none if it is complete."""
    wanted = [Run(cell, rate, 0) for rate in sorted(plan.rates)]
    best = _ranked(cell, sorted(plan.rates), (0,), done)
    if best is not None and plan.seeds > 1:
        wanted += [Run(cell, rate, 1) for rate in sorted(best[:2])]
    rate = tuned_rate(cell, plan, done)
    if rate is not None:
        wanted += [Run(cell, rate, seed) for seed in range(2, plan.seeds)]
    return [run for run in wanted if run not in done]


def _ranked(
    cell: Cell, rates: list[float], seeds: tuple[int, ...], done: Validated
) -> list[float] | None:
    if any(Run(cell, rate, seed) not in done for rate in rates for seed in seeds):
        return None

    def accuracy(rate: float) -> float:
        return fmean(done[Run(cell, rate, seed)] for seed in seeds)

    return sorted(rates, key=accuracy, reverse=True)  # stable: of equals the smaller comes first
