from __future__ import annotations

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from benchmarks.errors import UserError
from benchmarks.trials.cells import Cell, Run, cells, next_runs
from benchmarks.trials.report import write_report
from benchmarks.trials.report.aims import (
    above_controls,
    best_list,
    default_never_misleads,
    never_below_trusted,
    right_suggestions,
    share_of_the_way,
)
from benchmarks.trials.report.outcomes import outcomes
from benchmarks.trials.report.statistics import paired_difference
from benchmarks.trials.store import Store
from support.replacing import TEMPORARY
from tests.benchmarks.trials.made_up import PLAN, SETTING, record

TESTS = {
    "plain": [0.70, 0.72, 0.71],
    "plain+trusted": [0.80, 0.79, 0.84],
    "clean": [0.90, 0.90, 0.90],
}


def results(plan, tests):
    """Records of every run of the plan, the largest rate the best but for the best epoch."""
    done, records = {}, {}
    for task, cell in cells((plan,)):
        while runs := next_runs(cell, task, done):
            for run in runs:
                test = tests[cell.row][run.seed] if run.rate == 0.1 else 0.0
                records[run] = record(run, test, validation=run.rate)
                if run.rate == 0.01:  # best, were it stopped in its first epoch
                    records[run].validation[0] = 0.5
                    records[run].early_epoch = 0
                    records[run].early_test = 0.65
                done[run] = records[run].validated
    return records


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "results")
    store.begin((PLAN,), {"device": "a machine", "command": "a command"})
    for found in results(PLAN, TESTS).values():
        store.write(found, SETTING)
    return store


def report(store, *aims):
    write_report(store, "A title", aims)
    return (store.folder / "report.md").read_text(encoding="utf-8")


def table_row(text, name):
    line = next(line for line in text.splitlines() if line.startswith(f"| {name} |"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_differences_are_scipys():
    ours, theirs = {0: 0.5, 1: 0.7, 2: 0.4, 9: 1.0}, {0: 0.4, 1: 0.65, 2: 0.45, 5: 0.0}
    gains = np.array([0.1, 0.05, -0.05])
    interval = stats.ttest_1samp(gains, 0).confidence_interval(0.95)
    found = paired_difference(ours, theirs)
    assert (found.mean, found.low, found.high) == pytest.approx((gains.mean(), *interval))
    assert found.pairs == 3
    assert paired_difference({0: 1.0}, {0: 0.5}).low is None
    assert paired_difference({0: 1.0}, {1: 0.5}) is None


def test_the_report_says_what_the_records_say(store):
    text = report(store)
    assert "Incomplete" not in text
    assert "a machine" in text
    assert "a command" in text
    assert "60.0 % of the labels are right" in text
    deviation = 100 * np.std(TESTS["plain+trusted"], ddof=1)
    row = table_row(text, "plain+trusted")
    assert row[:3] == ["plain+trusted", "3", f"81.0 ± {deviation:.1f}"]
    assert row[4] == "0.1 ◂"
    assert row[5] == "60.0 ± 0.0"
    gains = 100 * (np.array(TESTS["plain+trusted"]) - TESTS["plain"])
    low, high = stats.ttest_1samp(gains, 0).confidence_interval(0.95)
    assert row[6:] == [f"{gains.mean():+.1f} ({low:+.1f} to {high:+.1f})", "–"]
    # The best epoch of plain has a rate of its own.
    assert table_row(text, "plain")[2:4] == ["71.0 ± 1.0", "65.0 ± 0.0 (0.01)"]


def test_the_csv_files(store):
    report(store)
    with (store.folder / "results.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    tuned = [row for row in rows if row["tuned"] == "1"]
    assert [(row["row"], row["seed"], float(row["test"])) for row in tuned] == [
        (name, str(seed), test) for name, tests in TESTS.items() for seed, test in enumerate(tests)
    ]
    assert len(rows) == len(list((store.folder / "runs").glob("*.json")))
    assert rows[0]["trusted"] == ""
    assert {row["trusted"] for row in rows if row["row"] == "plain+trusted"} == {"8"}
    assert {row["rate"] for row in rows if row["tuned_early"] == "1" and row["row"] == "plain"} == {
        "0.01"
    }
    with (store.folder / "cells.csv").open(encoding="utf-8", newline="") as file:
        summary = list(csv.DictReader(file))
    assert [float(row["test_mean"]) for row in summary] == pytest.approx([0.71, 0.81, 0.90])
    assert [row["rate_at_edge"] for row in summary] == ["1", "1", "1"]
    assert float(summary[0]["weight_on_clean_mean"]) == pytest.approx(0.6)


def test_figures_are_images(store):
    report(store)
    for name in ("accuracy.png", "weights.png", "tuning.png"):
        assert (store.folder / name).read_bytes().startswith(b"\x89PNG")
    assert not list(store.folder.rglob(f"{TEMPORARY}*"))


def test_what_is_missing_is_said(store):
    clean = Cell("made-up", None, "clean")
    for run in (Run(clean, 0.1, 0), Run(Cell("made-up", 8, "plain+trusted"), 0.1, 2)):
        (store.folder / "runs" / f"{run.name}.json").unlink()
    text = report(store)
    assert "of 3 cells, 1 have no tuned rate yet" in text
    assert "lack 1 of their runs" in text
    assert table_row(text, "clean")[1:3] == ["0", "missing"]
    assert table_row(text, "plain+trusted")[1] == "2"


def test_records_come_back_as_they_were(store):
    run = Run(Cell("made-up", None, "clean"), 0.1, 0)
    assert store.read((PLAN,))[run] == record(run, 0.90, validation=0.1)


def test_a_run_of_other_settings_is_refused(store):
    path = next((store.folder / "runs").glob("*.json"))
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**content, "fingerprint": "other"}), encoding="utf-8")
    with pytest.raises(UserError, match="other settings"):
        store.read((PLAN,))


@pytest.mark.parametrize("text", ["{", "{}", "[]", '{"fingerprint": "x", "run": {}}'])
def test_a_damaged_run_is_named(store, text):
    path = next((store.folder / "runs").glob("*.json"))
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match="damaged") as error:
        store.read((PLAN,))
    assert path.name in str(error.value)


ROWS = ("plain", "random", "plain+trusted", "clean+trusted", "mended-labels")


def verdicts(aim, recipe, found=None):
    plan = replace(PLAN, rows=ROWS, rates=(0.01, 0.1))
    tests = {
        "plain": [0.6] * 3,
        "random": [0.5] * 3,
        "plain+trusted": [0.7, 0.72, 0.68],
        "clean+trusted": [0.9] * 3,
        "mended-labels": [recipe] * 3,
    }
    records = results(plan, tests)
    for run, made in records.items():
        made.found = (found or {}).get(run.cell.row, {})
    return aim(outcomes((plan,), records))


@pytest.mark.parametrize(("recipe", "met"), [(0.681, True), (0.679, False)])
def test_the_recipe_may_fall_behind_by_the_spread_of_plain_and_trusted(recipe, met):
    (verdict,) = verdicts(never_below_trusted, recipe)
    assert verdict.met is met


@pytest.mark.parametrize(
    ("recipe", "last", "best"), [(0.88, True, True), (0.86, False, True), (0.77, False, False)]
)
def test_the_way_to_the_oracle_from_the_last_epoch_and_from_plains_best(recipe, last, best):
    # From the better of 60 and 70 to 90, 85 % of the way is 87; from 65 to 90 half is 77.5.
    from_last, from_best = verdicts(share_of_the_way("made-up"), recipe)
    assert (from_last.met, from_best.met) == (last, best)
    assert verdicts(share_of_the_way("another"), recipe) == []


@pytest.mark.parametrize(("recipe", "met"), [(0.741, True), (0.739, False), (0.49, False)])
def test_points_above_the_controls(recipe, met):
    (verdict,) = verdicts(above_controls("made-up", size=8, by=4), recipe)
    assert verdict.met is met
    assert verdicts(above_controls("made-up", size=5, by=4), recipe) == []


@pytest.mark.parametrize(
    ("peer", "met"), [(0.85, [True, True]), (0.89, [True, False]), (0.91, [False, False])]
)
def test_the_list_beside_the_best_peer(peer, met):
    found = {
        "mended-labels": {"label_quality": {"auroc": 0.9, "suggested": 0.8}},
        "plain": {"AUM": {"auroc": peer}, "mean loss": {"auroc": 0.5}},
    }
    assert [verdict.met for verdict in verdicts(best_list, 0.5, found)] == met
    for share, right in ((0.75, True), (0.85, False)):
        (verdict,) = verdicts(right_suggestions("made-up", share=share), 0.5, found)
        assert verdict.met is right


@pytest.mark.parametrize(("clean", "met"), [(0.61, True), (0.59, False)])
def test_the_default_may_not_give_wrong_labels_more_than_their_share(clean, met):
    plan = replace(PLAN, rows=("default",))
    records = results(plan, {"default": [0.5] * 3})
    for made in records.values():
        made.weight_on_clean = [clean, clean]
    (verdict,) = default_never_misleads(outcomes((plan,), records))
    assert verdict.met is met


def test_an_aim_whose_runs_are_not_there_is_not_known():
    plan = replace(PLAN, rows=ROWS)
    found = outcomes((plan,), {})
    assert [v.met for v in share_of_the_way("made-up")(found)] == [None, None]
    assert [v.met for v in above_controls("made-up", size=8, by=4)(found)] == [None]
    assert never_below_trusted(found) == best_list(found) == []


def test_aims_and_ways_stand_in_the_report(store):
    path = next((store.folder / "runs").glob("made-up_any_clean_lr0.1_seed0*"))
    content = json.loads(path.read_text(encoding="utf-8"))
    content["found"] = {"AUM": {"auroc": 0.75, "precision": 0.5, "at_number": 0.25}}
    path.write_text(json.dumps(content), encoding="utf-8")
    text = report(store, share_of_the_way("made-up"))
    assert "not known yet" in text
    assert "| AUM | **0.750** | 0.750 |" in text
