from __future__ import annotations

import math
from dataclasses import asdict, replace

import pytest
import torch

from benchmarks.label_noise.cells import Cell, Run
from benchmarks.label_noise.dataset import read_dataset
from benchmarks.label_noise.methods import METHODS
from benchmarks.label_noise.problem import make_problem
from benchmarks.label_noise.splits import split
from benchmarks.label_noise.teacher import with_teacher_labels
from benchmarks.label_noise.training import train
from benchmarks.label_noise.weight_tally import WeightTally
from tests.benchmarks.label_noise.made_up import SETTINGS, write_folder


def run(data, method="rgsm+trusted", rate=0.05, noise="symmetric-40", settings=SETTINGS):
    cell = Cell(noise, 8, method)
    problem = make_problem(data, settings, noise, 8, seed=0)
    return train(problem, Run(cell, rate, 0), settings, check=lambda: None)


def numbers(record):
    return {name: value for name, value in asdict(record).items() if name != "seconds"}


@pytest.mark.parametrize("method", METHODS)
def test_the_same_run_gives_the_same_numbers_to_the_bit(data, method):
    first = run(data, method)
    torch.rand(11)
    assert numbers(first) == numbers(run(data, method))


def test_all_methods_start_alike(data):
    first, second = run(data, "plain", rate=1e-30), run(data, "rgs", rate=1e-30)
    assert first.test == second.test
    assert first.validation == second.validation


def test_training_learns_and_memorises(data):
    settings = replace(SETTINGS, epochs=60)
    record = run(data, "plain", noise="symmetric-20", settings=settings)
    assert record.test > 0.75
    assert (record.pool_labels, record.pool_truth) == (1.0, 0.8)  # it has learnt all by heart
    assert record.clean_share == 0.8
    assert record.weight_on_clean == pytest.approx([0.8] * 60)
    assert record.kept == record.effective == [1.0] * 60
    assert record.weight_on_rare is None
    assert record.validation[record.early_epoch] == max(record.validation)


def test_training_on_the_trusted_set_knows_nothing_of_the_noise(data):
    results = [run(data, "trusted", noise=noise) for noise in ("symmetric-40", "asymmetric-40")]
    assert results[0].test == results[1].test
    assert results[0].weight_on_clean is None
    assert results[0].kept is None


@pytest.mark.parametrize("method", ["plain", "rgsm", "mixed", "trusted"])
def test_divergence_is_a_result(data, method):
    record = run(data, method, rate=1e30)
    assert record.diverged
    assert record.test == record.early_test == record.validation[-1] == 1 / 4
    assert len(record.validation) == SETTINGS.epochs


def test_imbalance_records_the_rare_classes(tmp_path):
    data = read_dataset(write_folder(tmp_path, per_class=120))
    record = run(data, "plain", noise="imbalance-100")
    counts = [100, round(100 ** (2 / 3)), round(100 ** (1 / 3)), 1]
    assert record.rare_share == pytest.approx(sum(counts[2:]) / sum(counts))
    assert record.weight_on_clean is None
    assert 0 <= record.rare_test <= 1
    assert len(record.weight_on_rare) == SETTINGS.epochs


def test_a_teacher_labels_the_pool(data):
    problem = make_problem(data, SETTINGS, "teacher", 8, seed=0)
    taught = with_teacher_labels(problem, SETTINGS, seed=0)
    again = with_teacher_labels(problem, SETTINGS, seed=0)
    assert torch.equal(taught.problem.pool[1], again.problem.pool[1])
    assert not torch.equal(taught.problem.pool[1], problem.truth)
    assert torch.equal(taught.problem.truth, problem.truth)
    assert 0 < taught.accuracy < 1


def test_inputs_are_standardised_by_the_pool(data):
    problem = make_problem(data, SETTINGS, "symmetric-40", 8, seed=0)
    parts = split(data.labels, [20] * 4, SETTINGS.validation, 8, seed=0)
    pool = data.images[parts.pool].double()
    for inputs, images in (
        (problem.pool[0], pool),
        (problem.validation[0], data.images[parts.validation].double()),
        (problem.trusted[0], data.images[parts.trusted].double()),
        (problem.test[0], data.test_images.double()),
    ):
        expected = ((images - pool.mean()) / pool.std()).float().unsqueeze(1)
        torch.testing.assert_close(inputs, expected, atol=1e-5, rtol=1e-5)


def test_shares_of_weight():
    tally = WeightTally()
    clean, rare = torch.tensor([True, True, False]), torch.tensor([True, False, False])
    tally.add(torch.tensor([0.5, 0.25, 0.25]), clean, rare)
    tally.add(torch.tensor([0.0, 1.0, 2.0]), clean, rare)
    tally.add(torch.zeros(3), clean, rare)
    assert math.isclose(tally.share("clean"), 1.75 / 4)
    assert math.isclose(tally.share("rare"), 0.5 / 4)
    assert math.isclose(tally.kept, (1 + 2 / 3) / 3)
    assert math.isclose(tally.effective, (1 / 0.375 / 3 + 9 / 5 / 3) / 3)


def test_what_check_raises_ends_the_run(data):
    problem = make_problem(data, SETTINGS, "symmetric-40", 8, seed=0)

    def check():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(problem, Run(Cell("symmetric-40", 8, "rgs"), 0.1, 0), SETTINGS, check)
