from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from scipy import stats

from benchmarks.errors import UserError
from benchmarks.label_noise.cells import Cell, Run, cells, next_runs
from benchmarks.label_noise.report import write_report
from benchmarks.label_noise.report.statistics import paired_difference
from benchmarks.label_noise.store import Store
from support.replacing import TEMPORARY
from tests.benchmarks.label_noise.made_up import PLAN, SETTINGS, record

TESTS = {"plain": [0.70, 0.72, 0.71], "mixed": [0.80, 0.79, 0.84]}


@pytest.fixture
def store(tmp_path):
    """Every run of the plan, the largest rate the best."""
    store = Store(tmp_path / "results")
    store.begin(SETTINGS, PLAN, {"device": "a machine", "command": "a command"})
    done = {}
    for cell in cells(PLAN):
        while runs := next_runs(cell, PLAN, done):
            for run in runs:
                done[run] = run.rate
                test = TESTS[cell.method][run.seed] if run.rate == 0.1 else 0.0
                store.write(record(run, test, validation=run.rate), SETTINGS)
    return store


def table_row(text, method):
    line = next(line for line in text.splitlines() if line.startswith(f"| {method} "))
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
    write_report(store)
    text = (store.folder / "report.md").read_text(encoding="utf-8")
    assert "Incomplete" not in text
    assert "a machine" in text
    assert "a command" in text
    assert "60.0 % of the labels are right" in text
    deviation = 100 * np.std(TESTS["mixed"], ddof=1)
    row = table_row(text, "mixed")
    assert row[:3] == ["mixed", "3", f"81.0 ± {deviation:.1f}"]
    assert row[4] == "0.1 ◂"
    assert row[5] == "60.0 ± 0.0"
    gains = 100 * (np.array(TESTS["mixed"]) - TESTS["plain"])
    low, high = stats.ttest_1samp(gains, 0).confidence_interval(0.95)
    assert row[7:] == [f"{gains.mean():+.1f} ({low:+.1f} to {high:+.1f})", "–"]


def test_the_csv_files(store):
    write_report(store)
    with (store.folder / "results.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["method"], row["seed"], float(row["test"])) for row in rows] == [
        (method, str(seed), test)
        for method, tests in TESTS.items()
        for seed, test in enumerate(tests)
    ]
    assert rows[0]["trusted"] == ""
    assert rows[-1]["trusted"] == "8"
    with (store.folder / "cells.csv").open(encoding="utf-8", newline="") as file:
        summary = list(csv.DictReader(file))
    assert [float(row["test_mean"]) for row in summary] == pytest.approx([0.71, 0.81])
    assert [row["rate_at_edge"] for row in summary] == ["1", "1"]
    assert float(summary[0]["weight_on_clean_mean"]) == pytest.approx(0.6)


def test_figures_are_images(store):
    write_report(store)
    for name in ("accuracy.png", "weights.png", "tuning.png"):
        assert (store.folder / name).read_bytes().startswith(b"\x89PNG")
    assert not list(store.folder.rglob(f"{TEMPORARY}*"))


def test_what_is_missing_is_said(store):
    plain = Cell("symmetric-40", None, "plain")
    for run in (Run(plain, 0.1, 1), Run(Cell("symmetric-40", 8, "mixed"), 0.1, 2)):
        (store.folder / "runs" / f"{run.name}.json").unlink()
    write_report(store)
    text = (store.folder / "report.md").read_text(encoding="utf-8")
    assert "of 2 cells, 1 have no tuned rate yet" in text
    assert "lack 1 of their runs" in text
    assert table_row(text, "plain")[1:3] == ["0", "missing"]
    assert table_row(text, "mixed")[1] == "2"


def test_records_come_back_as_they_were(store):
    run = Run(Cell("symmetric-40", None, "plain"), 0.1, 0)
    assert store.read(SETTINGS)[run] == record(run, 0.70, validation=0.1)


def test_a_run_of_other_settings_is_refused(store):
    path = next((store.folder / "runs").glob("*.json"))
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**content, "fingerprint": "other"}), encoding="utf-8")
    with pytest.raises(UserError, match="other settings"):
        store.read(SETTINGS)


@pytest.mark.parametrize("text", ["{", "{}", "[]", '{"fingerprint": "x", "run": {}}'])
def test_a_damaged_run_is_named(store, text):
    path = next((store.folder / "runs").glob("*.json"))
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match="damaged") as error:
        store.read(SETTINGS)
    assert path.name in str(error.value)
