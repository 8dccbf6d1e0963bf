"""Mixed precision is for training passes; scores are never computed in it."""

import dataclasses

import numpy as np
import pytest
import torch

from examples.covid3d.common.files import read_csv
from examples.covid3d.methods.rows import ROWS
from examples.covid3d.run.context import Context
from examples.covid3d.run.stages import train_student
from examples.covid3d.train.precision import MixedPrecision
from examples.covid3d.train.training import LAST, Length, Outcome, Recipe, train

CPU = torch.device("cpu")


def with_settings(taught, **changes):
    run = dataclasses.replace(taught.run, config=dataclasses.replace(taught.config, **changes))
    return Context(run, CPU)


@pytest.mark.parametrize("method", ["rgsm-al", "best"])
def test_a_row_trains_in_bfloat16_and_its_weights_stay_float32(taught, tmp_path, method):
    context = with_settings(taught, amp="bf16", student_steps=3, validate_every=9)
    (replicate,) = context.replicates()
    train_student(context, replicate, method, tmp_path)
    state = torch.load(tmp_path / "weights.pt", weights_only=True)
    floats = [value for value in state.values() if value.is_floating_point()]
    assert all(value.dtype == torch.float32 and value.isfinite().all() for value in floats)
    losses = [float(row["mean_loss"]) for row in read_csv(tmp_path / "steps.csv")]
    assert np.isfinite(losses).all()


def first_step(taught, folder, amp):
    """Outcome of step 0 of RGS&M+AL, and whether the forward pass was in half precision."""
    context = with_settings(taught, amp=amp)
    (replicate,) = context.replicates()
    lesson = context.lesson(replicate, folder)
    model = lesson.teacher_network().train()
    dtypes = set()
    model.register_forward_hook(lambda *inputs: dtypes.add(inputs[-1].dtype))
    recipe = ROWS["rgsm-al"].recipe(lesson, model)
    with MixedPrecision(amp, CPU).autocast():
        outcome = recipe(0)
        result = recipe._reweighter(
            recipe._noisy.draw(0).pair(CPU), recipe._trusted.draw(0).pair(CPU)
        )
    return outcome, result, dtypes


def test_scores_are_float32_and_those_without_amp(taught, tmp_path):
    plain, _, _ = first_step(taught, tmp_path, "off")
    half, result, dtypes = first_step(taught, tmp_path, "bf16")
    assert torch.bfloat16 in dtypes
    assert len(result.scores) == 2
    for scores in result.scores.values():
        assert scores.dtype in (torch.float32, torch.float64)
    assert result.weights.dtype == torch.float32
    for ours, theirs in zip(half.samples, plain.samples, strict=True):
        for key in ("gradient_similarity", "last_layer_gradient", "weight"):
            # One is taken beside the training pass, one in a pass of its own.
            assert ours[key] == pytest.approx(theirs[key], rel=1e-5)
    # The comparison is of different passes: their losses are those of another precision.
    assert float(half.loss.detach()) != float(plain.loss.detach())
    assert float(half.loss.detach()) == pytest.approx(float(plain.loss.detach()), rel=0.05)


def test_off_is_an_ordinary_step():
    def stepped(step):
        torch.manual_seed(0)
        model = torch.nn.Linear(3, 1)
        optimizer = torch.optim.Adam(model.parameters())
        step(model(torch.ones(2, 3)).sum(), optimizer)
        return model.weight

    def plain(loss, optimizer):
        loss.backward()
        optimizer.step()

    assert torch.equal(stepped(MixedPrecision("off", CPU).step), stepped(plain))
    assert MixedPrecision("off", CPU).state_dict() == {}


def test_an_overflow_in_float16_is_skipped_and_halves_the_scale():
    model = torch.nn.Linear(2, 1)
    before = model.weight.detach().clone()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    precision = MixedPrecision("fp16", CPU)
    scale = precision.state_dict()["scale"]
    precision.step(model(torch.ones(1, 2)).sum() * torch.inf, optimizer)
    assert torch.equal(model.weight, before)
    assert precision.state_dict()["scale"] == scale / 2
    precision.step(model(torch.ones(1, 2)).sum(), optimizer)
    torch.testing.assert_close(model.weight, before - 0.1)


def test_the_loss_scale_survives_a_checkpoint(tiny, tmp_path):
    first, second = MixedPrecision("fp16", CPU), MixedPrecision("fp16", CPU)
    state = first.state_dict() | {"scale": 128.0, "_growth_tracker": 7}
    second.load_state_dict(state)
    assert second.state_dict() == state
    second.load_state_dict({})
    assert second.state_dict() == state

    model = torch.nn.Linear(2, 1)

    class Overflows(Recipe):
        def __call__(self, _):
            loss = model(torch.ones(1, 2)).sum()
            loss.register_hook(lambda gradient: gradient * torch.inf)
            return Outcome(loss)

    config = dataclasses.replace(tiny, amp="fp16")
    options = {"config": config, "folder": tmp_path, "title": "x"}
    train(model, Overflows(), lambda _: 0.0, length=Length(3), **options)
    kept = torch.load(tmp_path / LAST, weights_only=True)["precision"]
    assert kept["scale"] == MixedPrecision("fp16", CPU).state_dict()["scale"] / 8
