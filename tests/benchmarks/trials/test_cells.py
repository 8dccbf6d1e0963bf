from __future__ import annotations

from dataclasses import replace

from benchmarks.label_issues.plans import FULL as ISSUES
from benchmarks.label_noise.plans import FULL as NOISE
from benchmarks.trials.cells import (
    Cell,
    Run,
    Validated,
    cell_of,
    cells,
    next_runs,
    runs_per_cell,
    tuned_rate,
)
from benchmarks.trials.workers import next_run
from benchmarks.weak_rules.plans import FULL as RULES
from tests.benchmarks.trials.made_up import PLAN, SETTING, record

CELL = Cell("made-up", None, "clean")
PLAIN = Cell("made-up", None, "plain")


def validated(run, last, best=None):
    return {run: Validated(last, last if best is None else best)}


def test_what_a_cell_depends_on():
    assert cell_of(PLAN, 8, "plain") == PLAIN
    assert cell_of(PLAN, 8, "plain+trusted").trusted == 8
    assert (
        cell_of(replace(PLAN, setting=replace(SETTING, noise="teacher")), 8, "plain").trusted == 8
    )
    assert cell_of(replace(PLAN, setting=replace(SETTING, finds=True)), 8, "plain").trusted == 8
    assert cell_of(replace(PLAN, unit="trusted texts a class"), 8, "plain").trusted == 8


def test_full_plans_name_each_task_once_and_have_the_rows_that_their_aims_speak_of():
    for plan in (NOISE, RULES, ISSUES):
        names = [task.name for task in plan]
        assert len(names) == len(set(names))
    by_name = {task.name: task for task in NOISE}
    for name in ("symmetric-40-e40", "asymmetric-40-e40"):
        assert {"plain", "plain+trusted", "clean+trusted", "sample-weights"} <= set(
            by_name[name].rows
        )
    assert all({"plain+trusted", "sample-weights"} <= set(task.rows) for task in (*NOISE, *RULES))
    assert all("random" in task.rows for task in RULES)


def test_every_rate_on_the_first_seed_and_the_best_on_all():
    done = {}
    accuracies = {0.01: 0.5, 0.03: 0.7, 0.1: 0.6}
    made = []
    while runs := next_runs(CELL, PLAN, done):
        made.append([(run.rate, run.seed) for run in runs])
        for run in runs:
            done |= validated(run, accuracies[run.rate])
    assert made == [[(0.01, 0), (0.03, 0), (0.1, 0)], [(0.03, 1), (0.03, 2)]]
    assert tuned_rate(CELL, PLAN, done) == 0.03
    assert sum(map(len, made)) == runs_per_cell(PLAN)


def test_tuning_on_two_seeds_takes_the_best_mean():
    plan = replace(PLAN, tuned_on=2, rates=(0.01, 0.1))
    done = {}
    for (rate, seed), last in {
        (0.01, 0): 0.9,
        (0.1, 0): 0.8,
        (0.01, 1): 0.2,
        (0.1, 1): 0.8,
    }.items():
        assert tuned_rate(CELL, plan, done) is None
        done |= validated(Run(CELL, rate, seed), last)
    assert tuned_rate(CELL, plan, done) == 0.1
    assert next_runs(CELL, plan, done) == [Run(CELL, 0.1, 2)]
    assert runs_per_cell(plan) == 5


def test_a_row_that_stops_early_is_tuned_for_both_epochs():
    done = {}
    for rate, (last, best) in {0.01: (0.6, 0.6), 0.03: (0.5, 0.7), 0.1: (0.4, 0.8)}.items():
        done |= validated(Run(PLAIN, rate, 0), last, best)
    assert tuned_rate(PLAIN, PLAN, done, "last") == 0.01
    assert tuned_rate(PLAIN, PLAN, done, "best") == 0.1
    wanted = [(run.rate, run.seed) for run in next_runs(PLAIN, PLAN, done)]
    assert wanted == [(0.01, 1), (0.01, 2), (0.1, 1), (0.1, 2)]


def test_of_equal_rates_the_smaller():
    done = {}
    for rate in PLAN.rates:
        done |= validated(Run(CELL, rate, 0), 0.1)
    assert tuned_rate(CELL, PLAN, done) == 0.01


def test_one_seed_is_tuned_on_itself():
    plan = replace(PLAN, seeds=1, tuned_on=2)
    done = {}
    for rate in PLAN.rates:
        done |= validated(Run(CELL, rate, 0), rate)
    assert tuned_rate(CELL, plan, done) == 0.1
    assert next_runs(CELL, plan, done) == []
    assert runs_per_cell(plan) == 3


def test_more_seeds_go_on_from_fewer():
    done = {}
    while runs := next_runs(CELL, PLAN, done):
        for run in runs:
            done |= validated(run, run.rate)
    more = next_runs(CELL, replace(PLAN, seeds=4), done)
    assert [(run.rate, run.seed) for run in more] == [(0.1, 3)]


def test_seeds_start_where_the_plan_says():
    plan = replace(PLAN, first=10, tuned_on=2, rates=(0.1,))
    assert [run.seed for run in next_runs(CELL, plan, {})] == [10, 11]
    done = validated(Run(CELL, 0.1, 10), 0.5) | validated(Run(CELL, 0.1, 11), 0.5)
    assert next_runs(CELL, plan, done) == [Run(CELL, 0.1, 12)]
    assert replace(plan, seeds=1).tuning_seeds == range(10, 11)


def test_a_waiting_cell_lets_the_next_one_start():
    assert [cell.row for _, cell in cells((PLAN,))] == ["plain", "plain+trusted", "clean"]
    running = {Run(PLAIN, rate, 0) for rate in PLAN.rates}
    assert next_run((PLAN,), {}, running).cell.row == "plain+trusted"
    done = {run: record(run) for run in running}
    assert next_run((PLAN,), done, set()) == Run(PLAIN, 0.01, 1)
