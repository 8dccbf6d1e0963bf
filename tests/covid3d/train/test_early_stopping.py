"""A saturated training stops, but none before its last phase."""

import dataclasses

import pytest
from torch import nn

from examples.covid3d.common.files import read_csv
from examples.covid3d.methods.rows import ROWS
from examples.covid3d.run.context import Context
from examples.covid3d.run.stages import train_student
from examples.covid3d.train import schedule, training
from tests.covid3d.running import TRAINED, Killed
from tests.covid3d.train.test_training import Walk, go


@pytest.fixture(autouse=True)
def short_windows(monkeypatch):
    """An epoch of one step is a window."""
    monkeypatch.setattr(schedule, "_SHORTEST_WINDOW", 1)


@pytest.fixture
def model():
    return nn.Linear(2, 1)


def steps_of(folder):
    return len(read_csv(folder / "steps.csv"))


FALLS = [1.0, 0.8, 0.6, 0.6, 0.6, 0.6, 0.6, 0.6, 0.1]


def test_a_saturated_training_stops_and_is_validated_there(tmp_path, tiny, model):
    go(tmp_path, tiny, Walk(model, FALLS), steps=9, patience=2, validate_every=100)
    assert steps_of(tmp_path) == 5
    assert [row["step"] for row in read_csv(tmp_path / "curve.csv")] == ["5"]


def test_epochs_of_several_steps_stop_at_the_end_of_one(tmp_path, tiny, model):
    losses = [1.0, 0.8, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5]
    go(tmp_path, tiny, Walk(model, losses), steps=9, epoch=2, patience=1, validate_every=100)
    assert steps_of(tmp_path) == 6


def test_windows_of_a_hundred_steps_are_the_shortest(tmp_path, tiny, model, monkeypatch):
    monkeypatch.undo()
    go(tmp_path, tiny, Walk(model), steps=300, patience=1, validate_every=1000)
    assert steps_of(tmp_path) == 200


class Phased(Walk):
    """In its last phase from step 4 on."""

    def __call__(self, step):
        self.final = step >= 4
        return super().__call__(step)


def test_windows_begin_with_the_last_phase(tmp_path, tiny, model):
    go(tmp_path, tiny, Phased(model), steps=20, epoch=3, patience=1, validate_every=100)
    # Two windows of three steps, the second no better than the first.
    assert steps_of(tmp_path) == 4 + 3 + 3


@pytest.mark.parametrize("at", [1, 2, 4, 5, 6, 7])
@pytest.mark.parametrize("kind", [Walk, Phased])
def test_an_interruption_changes_no_window(tmp_path, tiny, monkeypatch, kind, at):
    losses = [1.0, 0.9, 0.8, 0.7, 0.6, 0.6, 0.6, 0.6, 0.6, 0.6, 0.6, 0.6]
    rest = {"steps": 12, "epoch": 2, "patience": 1, "validate_every": 100, "checkpoint_every": 1}
    go(tmp_path / "whole", tiny, kind(nn.Linear(2, 1), losses), **rest)
    take = training._Run.take

    def stop(self, rate):
        if self.step == at:
            raise Killed
        return take(self, rate)

    with monkeypatch.context() as patched:
        patched.setattr(training._Run, "take", stop)
        with pytest.raises(Killed):
            go(tmp_path / "killed", tiny, kind(nn.Linear(2, 1), losses), **rest)
    go(tmp_path / "killed", tiny, kind(nn.Linear(2, 1), losses), **rest)
    assert at < steps_of(tmp_path / "killed") == steps_of(tmp_path / "whole") < 12


# Steps after which the last phase is one step old. `best` begins it after 60 % of three times the
# 4 + 8 steps of a row from scratch, `semi-supervised` (two groups) with the last third of 8 steps,
# `self-training` (two rounds) with the second half.
EARLIEST = {"best": 23, "best-agreeing": 23, "semi-supervised": 7, "self-training": 5}


@pytest.mark.parametrize("method", TRAINED)
def test_no_row_stops_before_its_last_phase(taught, tmp_path, monkeypatch, method):
    monkeypatch.setattr(training, "window_of", lambda _: 1)
    monkeypatch.setattr(training, "is_saturated", lambda means, _: len(means) > 0)
    config = dataclasses.replace(taught.config, patience=1, validate_every=100)
    context = Context(dataclasses.replace(taught.run, config=config), taught.device)
    (replicate,) = context.replicates()
    train_student(context, replicate, method, tmp_path)
    assert steps_of(tmp_path) == EARLIEST.get(method, 1)
    if method in ("best", "best-agreeing"):
        last = read_csv(tmp_path / "steps.csv")[-1]
        assert float(last["pseudo_loss"]) > 0


def test_the_rows_in_phases_are_those_above():
    assert set(EARLIEST) <= set(ROWS)
