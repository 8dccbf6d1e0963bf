from __future__ import annotations

import math
from dataclasses import asdict, replace

import pytest
import torch

from benchmarks.sets.fashion import Fashion
from benchmarks.sets.sources import SOURCES
from benchmarks.trials.cells import Cell, Run
from benchmarks.trials.making import make
from benchmarks.trials.rows import ROWS
from benchmarks.trials.weight_tally import WeightTally
from tests.benchmarks.sets.test_problems import SETTINGS
from tests.benchmarks.trials.made_up import SETTING, write_folder

HERE = [name for name, row in ROWS.items() if row.samples != "folds"]


@pytest.fixture(scope="module")
def fashion(folder):
    return Fashion(folder)


def run(fashion, row="sample-weights", rate=0.05, noise="symmetric-40", **changes):
    setting = replace(SETTING, noise=noise, **changes)
    problem = fashion.problem(setting, 8, 0)
    return make(problem, Run(Cell("made-up", 8, row), rate, 0), setting, check=lambda: None)


def numbers(record):
    return {name: value for name, value in asdict(record).items() if name != "seconds"}


@pytest.mark.parametrize("row", HERE)
def test_the_same_run_gives_the_same_numbers_to_the_bit(fashion, row):
    first = run(fashion, row)
    torch.rand(11)
    assert numbers(first) == numbers(run(fashion, row))


def test_all_rows_start_alike(fashion):
    first, second = run(fashion, "plain", rate=1e-30), run(fashion, "similarity", rate=1e-30)
    assert first.test == second.test
    assert first.validation == second.validation


def test_training_learns_and_memorises(fashion):
    record = run(fashion, "plain", noise="symmetric-20", epochs=60)
    assert record.test > 0.75
    assert (record.pool_labels, record.pool_truth) == (1.0, 0.8)  # it has learnt all by heart
    assert record.clean_share == 0.8
    assert record.weight_on_clean == pytest.approx([0.8] * 60)
    assert record.kept == record.effective == [1.0] * 60
    assert record.weight_on_rare is None
    assert record.validation[record.early_epoch] == max(record.validation)
    assert record.validated.best == max(record.validation)


def test_the_oracle_sees_no_wrong_label(fashion):
    record = run(fashion, "clean+trusted", epochs=60)
    assert record.weight_on_clean == [1.0] * 60
    assert record.test > run(fashion, "plain", epochs=60).test


def test_training_on_the_trusted_set_knows_nothing_of_the_noise(fashion):
    results = [run(fashion, "trusted", noise=noise) for noise in ("symmetric-40", "asymmetric-40")]
    assert results[0].test == results[1].test
    assert results[0].weight_on_clean is None
    assert results[0].kept is None


@pytest.mark.parametrize("row", ["plain", "sample-weights", "plain+trusted", "trusted"])
def test_divergence_is_a_result(fashion, row):
    record = run(fashion, row, rate=1e30)
    assert record.diverged
    assert record.test == record.early_test == record.validation[-1] == 1 / 4
    assert len(record.validation) == SETTING.epochs


def test_imbalance_records_the_rare_classes(tmp_path):
    fashion = Fashion(write_folder(tmp_path, per_class=120))
    record = run(fashion, "plain", noise="imbalance-100")
    counts = [100, round(100 ** (2 / 3)), round(100 ** (1 / 3)), 1]
    assert record.rare_share == pytest.approx(sum(counts[2:]) / sum(counts))
    assert record.weight_on_clean is None
    assert 0 <= record.rare_test <= 1
    assert len(record.weight_on_rare) == SETTING.epochs


def test_what_each_source_weighed_is_recorded(fashion):
    record = run(fashion, "group-weights", noise="sources-10-70", epochs=8)
    good, bad = record.weight_by_group["10% wrong"], record.weight_by_group["70% wrong"]
    assert (good + bad) / 2 == pytest.approx(1, abs=1e-6)
    assert good > bad
    assert run(fashion, "group-weights").weight_by_group is None


@pytest.mark.parametrize("source", SETTINGS)
@pytest.mark.parametrize("row", ["plain+trusted", "soft-labels", "sample-weights"])
def test_every_data_set_can_be_trained_on(every_set, source, row):
    setting = SETTINGS[source]
    data = SOURCES[source].read(SOURCES[source].find(every_set))
    problem = data.problem(setting, 8, 0)
    record = make(problem, Run(Cell(setting.name, 8, row), 0.01, 0), setting, lambda: None)
    assert not record.diverged
    assert 0 <= record.test <= 1
    assert (record.clean_share is None) == (source == "ner")


def test_shares_of_weight():
    clean, rare = torch.tensor([True, True, False]), torch.tensor([True, False, False])
    tally = WeightTally({"clean": clean, "rare": rare}, torch.tensor([0, 1, 1]))
    chosen = torch.arange(3)
    tally.add(chosen, torch.tensor([0.5, 0.25, 0.25]))
    tally.add(chosen, torch.tensor([0.0, 1.0, 2.0]))
    tally.add(chosen, torch.zeros(3))
    assert math.isclose(tally.share("clean"), 1.75 / 4)
    assert math.isclose(tally.share("rare"), 0.5 / 4)
    assert math.isclose(tally.kept, (1 + 2 / 3) / 3)
    assert math.isclose(tally.effective, (1 / 0.375 / 3 + 9 / 5 / 3) / 3)
    assert tally.by_group == pytest.approx([0.5 / 3 / (4 / 9), 3.5 / 6 / (4 / 9)])


def test_what_check_raises_ends_the_run(fashion):
    problem = fashion.problem(SETTING, 8, 0)

    def check():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make(problem, Run(Cell("made-up", 8, "similarity"), 0.1, 0), SETTING, check)
