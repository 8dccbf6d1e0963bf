"""The fast mode and the exact scores, trained side by side."""

from __future__ import annotations

import pytest

from benchmarks.fast_mode import __main__ as command
from benchmarks.fast_mode.training import SETTINGS, Outcome, Setting, problem_of, train
from benchmarks.sets.idx_folder import read_images
from reweight import GradientSimilarity
from tests.benchmarks.trials.made_up import write_folder

SMALL = Setting("symmetric-40", 20, "SGD", 0.02)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("idx"))


def run(folder, scorer, setting=SMALL, seed=0):
    problem = problem_of(read_images(folder), setting, 80, seed)
    return train(problem, setting, scorer, batch=20, epochs=2, seed=seed)


@pytest.mark.parametrize("optimizer", ["SGD", "Adam"])
def test_equal_arguments_give_equal_numbers(folder, optimizer):
    setting = Setting("symmetric-40", 20, optimizer, 0.01)
    first, second = (run(folder, GradientSimilarity.fast(), setting) for _ in range(2))
    assert first == second
    assert 0 < first.accuracy < 1
    assert first != run(folder, GradientSimilarity.fast(), setting, seed=1)


def test_exact_scores_take_the_gradient_in_every_step_and_fast_ones_in_some(folder):
    assert run(folder, GradientSimilarity()).renewed == 1
    still = Setting("symmetric-40", 20, "SGD", 1e-9)
    assert run(folder, GradientSimilarity.fast(), still).renewed == 0.5  # at 0, 1, 3 and 7 of 8


def test_a_line_of_the_table():
    found = {
        "exact": [Outcome(0.75, 1.0), Outcome(0.77, 1.0)],
        "fast": [Outcome(0.74, 0.5), Outcome(0.77, 0.25)],
    }
    assert command.row(SMALL, found) == (
        "| symmetric-40, 20 trusted, SGD 0.02 | 76.0 ± 1.4 | 75.5 ± 2.1 | -0.5 | 0.50, 0.25 |"
    )


def test_the_command_prints_and_writes_a_table(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(command, "SETTINGS", (SMALL,))
    output = tmp_path / "table.md"
    words = ["--data", str(folder), "--output", str(output), "--seeds", "1", "--epochs", "1"]
    assert command.main([*words, "--pool", "80", "--batch", "20"]) == 0
    text = output.read_text(encoding="utf-8")
    assert f"| {SMALL} |" in text
    assert text in capsys.readouterr().out


def test_data_that_are_too_few_are_an_error_in_words(folder, tmp_path, capsys):
    output = tmp_path / "table.md"
    assert command.main(["--data", str(folder), "--output", str(output)]) == 2
    assert "error:" in capsys.readouterr().err
    assert not output.exists()


def test_three_settings_and_the_one_that_an_old_gradient_spoils():
    assert len(SETTINGS) >= 3
    assert Setting("symmetric-40", 1000, "SGD", 0.02) in SETTINGS
