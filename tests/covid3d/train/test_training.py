"""The training loop: what it writes, which network it keeps, when it stops."""

import dataclasses

import pytest
import torch
from torch import nn

from examples.covid3d.common.errors import UserError
from examples.covid3d.common.files import read_csv, read_json
from examples.covid3d.train import training
from examples.covid3d.train.training import BEST, LAST, Length, Outcome, Recipe, train
from tests.covid3d.running import same, weights_in


class Walk(Recipe):
    """Moves a parameter by Adam; its average is what is evaluated, if there is one."""

    def __init__(self, model, losses=None, average=None, update=True):
        self.model, self.losses, self.average, self.update = model, losses, average, update
        self.moved = []

    def __call__(self, step):
        value = self.losses[step] if self.losses else 1.0
        loss = self.model.weight.sum() + 0 * self.model.bias.sum()
        return Outcome(loss, self.update, row={"mean_loss": value})

    def after_step(self, step):
        self.moved.append(step)
        if self.average is not None:
            with torch.no_grad():
                self.average.weight.copy_(self.model.weight * 10)

    def evaluated(self):
        return self.average


def go(folder, tiny, recipe, validate=lambda _: 0.5, steps=6, epoch=1, **changes):
    config = dataclasses.replace(tiny, learning_rate=0.1, schedule="constant", **changes)
    train(
        recipe.model,
        recipe,
        validate,
        config=config,
        length=Length(steps, epoch),
        folder=folder,
        title="walk",
    )


@pytest.fixture
def model():
    return nn.Linear(2, 1)


def rising_then_falling():
    scores = iter([0.2, 0.9, 0.4])
    seen = []

    def validate(network):
        seen.append({k: v.clone() for k, v in network.state_dict().items()})
        return next(scores)

    return validate, seen


@pytest.mark.parametrize("keep", ["last", "best"])
def test_the_last_or_the_best_checkpoint_is_kept(tmp_path, tiny, model, keep):
    validate, seen = rising_then_falling()
    go(tmp_path, tiny, Walk(model), validate, keep=keep)
    assert len(seen) == 3
    assert same(weights_in(tmp_path), seen[1 if keep == "best" else 2])
    best = torch.load(tmp_path / BEST, weights_only=True)
    last = torch.load(tmp_path / LAST, weights_only=True)
    assert (best["step"], best["best"], last["step"]) == (4, 0.9, 6)
    assert same(best["model"], seen[1])
    assert same(last["model"], seen[2])
    for state in (best, last):
        assert {"optimizer", "recipe", "precision", "rng", "log"} <= set(state)
        assert len(state["log"]["steps"]) == state["step"]
    assert [float(row["dice"]) for row in read_csv(tmp_path / "curve.csv")] == [0.2, 0.9, 0.4]
    assert read_json(tmp_path / "timing.json")["steps"] == 6


@pytest.mark.parametrize("keep", ["last", "best"])
def test_what_the_recipe_says_is_validated_and_written(tmp_path, tiny, model, keep):
    average = nn.Linear(2, 1)
    validate, seen = rising_then_falling()
    go(tmp_path, tiny, Walk(model, average=average), validate, keep=keep)
    assert same(weights_in(tmp_path), seen[1 if keep == "best" else 2])
    assert not same(weights_in(tmp_path), model.state_dict())
    assert same(torch.load(tmp_path / LAST, weights_only=True)["model"], model.state_dict())


def test_steps_that_keep_nothing_move_nothing(tmp_path, tiny, model):
    before = {key: value.clone() for key, value in model.state_dict().items()}
    recipe = Walk(model, update=False)
    go(tmp_path, tiny, recipe)
    assert same(before, model.state_dict())
    assert recipe.moved == []
    assert len(read_csv(tmp_path / "steps.csv")) == 6


def test_the_recipe_hears_of_every_step_that_moved(tmp_path, tiny, model):
    recipe = Walk(model)
    go(tmp_path, tiny, recipe)
    assert recipe.moved == list(range(6))


def test_a_finished_training_is_left_alone(tmp_path, tiny, model):
    go(tmp_path, tiny, Walk(model))
    before = weights_in(tmp_path)
    go(tmp_path, tiny, Walk(nn.Linear(2, 1)))
    assert same(before, weights_in(tmp_path))


def test_a_diverging_training_says_so(tmp_path, tiny, model):
    class Diverges(Walk):
        def __call__(self, _):
            return Outcome(self.model(torch.full((1, 2), torch.inf)).sum())

    with pytest.raises(UserError, match="lower --learning-rate"):
        go(tmp_path, tiny, Diverges(model))
    assert not (tmp_path / "weights.pt").exists()


def test_columns_that_begin_later_are_logged(tmp_path, tiny, model):
    class Late(Walk):
        def __call__(self, step):
            more = {"kept": 2} if step > 2 else {}
            return Outcome(self.model.weight.sum(), row={"mean_loss": 1.0, **more})

    go(tmp_path, tiny, Late(model))
    assert [row["kept"] for row in read_csv(tmp_path / "steps.csv")] == ["", "", "", "2", "2", "2"]


class Weighing(Walk):
    def __call__(self, step):
        outcome = super().__call__(step)
        samples = [{"step": step, "weight": w} for w in (0.25, 0.75)]
        return dataclasses.replace(outcome, samples=samples)


def test_of_a_long_training_evenly_spaced_steps_are_logged(tmp_path, tiny, model, monkeypatch):
    monkeypatch.setattr(training, "_MOST_LOGGED", 4)
    go(tmp_path, tiny, Weighing(model), steps=11, validate_every=100)
    assert [row["step"] for row in read_csv(tmp_path / "steps.csv")] == ["0", "3", "6", "9"]
    samples = [row["step"] for row in read_csv(tmp_path / "samples.csv")]
    assert samples == ["0", "0", "3", "3", "6", "6", "9", "9"]
    assert read_json(tmp_path / "timing.json")["steps"] == 11


def test_checkpoints_do_not_grow_with_the_length(tmp_path, tiny, monkeypatch):
    monkeypatch.setattr(training, "_MOST_LOGGED", 10)
    sizes = []
    for steps in (10, 400):
        go(tmp_path / str(steps), tiny, Weighing(nn.Linear(2, 1)), steps=steps, validate_every=1000)
        log = torch.load(tmp_path / str(steps) / LAST, weights_only=True)["log"]
        sizes.append({name: len(rows) for name, rows in log.items()})
    assert sizes[0] == sizes[1] == {"steps": 10, "samples": 20, "curve": 1}


def test_tensorboard_has_every_number_of_every_step(tmp_path, tiny, model, monkeypatch):
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    monkeypatch.setattr(training, "_MOST_LOGGED", 2)
    go(tmp_path, tiny, Weighing(model), tensorboard=True)
    every = {"histograms": 0, "scalars": 0}
    board = events.EventAccumulator(str(tmp_path / "tensorboard"), size_guidance=every)
    board.Reload()
    assert set(board.Tags()["scalars"]) == {"train/loss", "train/mean_loss", "validation/dice"}
    assert [e.step for e in board.Scalars("train/loss")] == list(range(1, 7))
    assert [e.value for e in board.Scalars("validation/dice")] == [0.5] * 3
    assert board.Tags()["histograms"] == ["train/weights"]
    weights = board.Histograms("train/weights")
    assert [e.step for e in weights] == list(range(1, 7))
    shown = weights[0].histogram_value
    assert (shown.num, shown.min, shown.max, shown.sum) == (2, 0.25, 0.75, 1.0)


def test_without_weights_tensorboard_has_no_histogram(tmp_path, tiny, model):
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    go(tmp_path, tiny, Walk(model), tensorboard=True)
    board = events.EventAccumulator(str(tmp_path / "tensorboard"))
    board.Reload()
    assert board.Tags()["histograms"] == []
