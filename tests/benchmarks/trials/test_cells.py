from __future__ import annotations

from dataclasses import replace

from benchmarks.label_noise.cells import Cell, Run, cells, next_runs, runs_per_cell, tuned_rate
from benchmarks.label_noise.settings import FULL
from benchmarks.label_noise.workers import next_run
from tests.benchmarks.label_noise.made_up import PLAN, record

CELL = Cell("symmetric-40", None, "plain")


def test_cells_of_the_full_plan():
    found = cells(FULL)
    assert len(found) == len(set(found)) == 4 * 22 + 26 + 26
    assert all(cell.noise == "symmetric-40" for cell in found[:26])
    assert Cell("symmetric-20", None, "rgm") in found
    assert Cell("symmetric-20", 100, "rgm") not in found
    assert Cell("teacher", 100, "plain") in found
    assert Cell("teacher", None, "plain") not in found
    assert {cell.noise for cell in found if cell.method == "rgsm-0.25"} == {"symmetric-40"}
    assert runs_per_cell(FULL) == 3 + 2 + 3


def test_stages_of_tuning():
    done: dict[Run, float] = {}
    accuracies = {(0.01, 0): 0.5, (0.03, 0): 0.7, (0.1, 0): 0.6, (0.03, 1): 0.6, (0.1, 1): 0.8}
    made = []
    while runs := next_runs(CELL, PLAN, done):
        made.append([(run.rate, run.seed) for run in runs])
        done |= {run: accuracies.get((run.rate, run.seed), 0.0) for run in runs}
    first = [(0.01, 0), (0.03, 0), (0.1, 0)]
    assert made == [first, [(0.03, 1), (0.1, 1)], [(0.1, 2)]]
    assert tuned_rate(CELL, PLAN, done) == 0.1  # 0.7 in the mean of both seeds, to 0.65
    assert sum(map(len, made)) == runs_per_cell(PLAN)


def test_of_equal_rates_the_smaller():
    done = {Run(CELL, rate, seed): 0.1 for rate in PLAN.rates for seed in (0, 1)}
    assert tuned_rate(CELL, PLAN, done) == 0.01


def test_one_seed_is_tuned_on_itself():
    plan = replace(PLAN, seeds=1)
    done = {Run(CELL, rate, 0): rate for rate in PLAN.rates}
    assert tuned_rate(CELL, plan, done) == 0.1
    assert next_runs(CELL, plan, done) == []
    assert runs_per_cell(plan) == 3


def test_more_seeds_go_on_from_fewer():
    done: dict[Run, float] = {}
    while runs := next_runs(CELL, PLAN, done):
        done |= {run: run.rate for run in runs}
    assert [(r.rate, r.seed) for r in next_runs(CELL, replace(PLAN, seeds=4), done)] == [(0.1, 3)]


def test_a_waiting_cell_lets_the_next_one_start():
    ordered = cells(PLAN)
    running = {Run(CELL, rate, 0) for rate in PLAN.rates}
    assert next_run(ordered, PLAN, {}, running).cell == Cell("symmetric-40", 8, "mixed")
    done = {run: record(run) for run in running}
    assert next_run(ordered, PLAN, done, set()) == Run(CELL, 0.01, 1)
