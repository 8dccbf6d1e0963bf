"""Losses and scores that are not finite: reported with their samples, or left out."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from reweight import (
    GradientSimilarity,
    KeepAll,
    LossMagnitude,
    MetaReweighter,
    NonFiniteError,
    Uniform,
)
from tests import oracle
from tests.comparing import assert_same
from tests.device import near, random_state, set_random_state
from tests.helpers import flat_grad, reweighter
from tests.problems import (
    PROBLEMS,
    Case,
    classified,
    cross_entropy,
    float64,
    mlp,
    opaque_batch,
    voxel_map,
)
from tests.snapshot import Snapshot

BAD = [1, 3]
GOOD = [0, 2, 4]
BAD_VALUES = [float("nan"), float("inf"), -float("inf")]
MODELS = ["mlp", "dropout", "groupnorm", "batchnorm_train", "resnet", "voxel_map", "coupled_head"]


def spoil(batch, indices, value=float("nan")):
    inputs = batch[0].clone()
    inputs[indices] = value
    return inputs, batch[1]


def only(batch, indices):
    return tuple(tensor[indices] for tensor in batch)


@pytest.mark.parametrize("value", BAD_VALUES)
@pytest.mark.parametrize("call", ["__call__", "score"])
def test_a_noisy_loss(call, value):
    case = mlp()
    case.noisy = spoil(case.noisy, BAD, value)
    with pytest.raises(NonFiniteError, match="loss") as caught:
        getattr(reweighter(case), call)(case.noisy, case.trusted)
    assert caught.value.indices == BAD
    assert caught.value.batch == "noisy"
    assert "loss" in caught.value.what
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize("method", ["auto", "double_backward", "finite_difference", "unrolled"])
def test_a_trusted_loss(method):
    case, scorer = mlp(), GradientSimilarity(method=method)
    case.trusted = spoil(case.trusted, [2])
    with pytest.raises(NonFiniteError, match="trusted") as caught:
        reweighter(case, scorer=scorer)(case.noisy, case.trusted)
    assert caught.value.indices == [2]
    assert caught.value.batch == "trusted"


def test_a_trusted_loss_that_only_the_trusted_term_needs():
    case = mlp()
    case.trusted = spoil(case.trusted, [2])
    with pytest.raises(NonFiniteError, match="trusted"):
        reweighter(case, scorer=Uniform(), trusted_coefficient=1.0)(case.noisy, case.trusted)


@pytest.mark.parametrize("value", BAD_VALUES)
def test_a_score(value):
    case = mlp()

    def odd(context):
        scores = torch.ones_like(context.losses)
        scores[4] = value
        return scores

    with pytest.raises(NonFiniteError, match="odd") as caught:
        reweighter(case, scorer=odd)(case.noisy, case.trusted)
    assert caught.value.indices == [4]
    assert "odd" in caught.value.what
    assert caught.value.batch == "noisy"


@pytest.mark.parametrize("method", ["auto", "double_backward"])
def test_a_finite_loss_without_a_finite_gradient(method):
    """The square root of zero."""
    case = root_at_zero()
    weigh = reweighter(case, scorer=GradientSimilarity(method=method))
    with pytest.raises(NonFiniteError) as caught:
        weigh(case.noisy, case.trusted)
    assert caught.value.indices == [2]


def root_at_zero():
    case = mlp()
    case.noisy = case.noisy[0], torch.ones(5, 1).double()
    case.trusted = case.trusted[0], torch.ones(4, 1).double()
    case.noisy[1][2] = 0
    case.loss = lambda output, mask: (output * mask).square().sum(1).sqrt()
    return case


@pytest.mark.parametrize("name", MODELS)
def test_an_error_leaves_everything_as_found(name):
    case = PROBLEMS[name]()
    case.trusted = spoil(case.trusted, [0])
    weigh = reweighter(case)
    snapshot = Snapshot(case.model)
    with pytest.raises(NonFiniteError):
        weigh.score(case.noisy, case.trusted)
    assert snapshot.changed() == []


# on_nonfinite="drop" -----------------------------------------------------------------------------


@pytest.mark.parametrize("scorer", ["default", "uniform", "loss"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", MODELS)
def test_dropping_is_training_on_the_rest(name, value, scorer):
    """Weights, gradients, buffers and random numbers are those of the finite part alone."""
    options = {"default": {}, "uniform": {"scorer": Uniform()}, "loss": {"scorer": LossMagnitude()}}
    options = {"selector": KeepAll(), **options[scorer]}
    case, part = PROBLEMS[name](), PROBLEMS[name]()
    case.noisy = spoil(case.noisy, BAD, value)
    part.noisy = only(part.noisy, GOOD)
    start = random_state()
    expected = reweighter(part, **options)(part.noisy, part.trusted)
    after = random_state()
    set_random_state(start)
    step = reweighter(case, on_nonfinite="drop", **options)(case.noisy, case.trusted)
    assert torch.equal(random_state(), after)
    assert step.weights.shape == step.losses.shape == (5,)
    assert step.weights[BAD].tolist() == [0, 0]
    assert_same(step.weights[GOOD], expected.weights, 1e-9)
    assert_same(step.losses[GOOD], expected.losses, 1e-9)
    assert_same(step.loss, expected.loss, 1e-9)
    for key, score in expected.scores.items():
        assert_same(step.scores[key][GOOD], score, 1e-9)
    step.loss.backward()
    expected.loss.backward()
    assert_same(flat_grad(case), flat_grad(part), 1e-9)
    for key, buffer in part.model.named_buffers():
        assert torch.allclose(case.model.get_buffer(key), buffer, rtol=1e-12), key


@pytest.mark.parametrize("name", ["mlp", "batchnorm_train", "dropout"])
def test_a_target_that_spoils_the_loss(name):
    """The inputs are fine: only the loss says that a sample is spoilt."""
    case, part = PROBLEMS[name](), PROBLEMS[name]()
    for each in (case, part):
        each.loss = lambda output, target: cross_entropy(output, target[0]) * target[1]
        each.noisy, each.trusted = (
            (x, (y, torch.ones(len(y)).double())) for x, y in (each.noisy, each.trusted)
        )
    case.noisy[1][1][BAD] = float("inf")
    part.noisy = part.noisy[0][GOOD], only(part.noisy[1], GOOD)
    start = random_state()
    expected = reweighter(part)(part.noisy, part.trusted)
    after = random_state()
    set_random_state(start)
    step = reweighter(case, on_nonfinite="drop")(case.noisy, case.trusted)
    assert torch.equal(random_state(), after)
    step.loss.backward()
    expected.loss.backward()
    assert_same(flat_grad(case), flat_grad(part), 1e-9)
    for key, buffer in part.model.named_buffers():
        assert torch.allclose(case.model.get_buffer(key), buffer, rtol=1e-12), key


def test_a_sample_whose_gradient_is_not_finite():
    case = root_at_zero()
    weigh = reweighter(case, on_nonfinite="drop", selector=KeepAll())
    step = weigh(case.noisy, case.trusted)
    assert step.weights[2] == 0
    assert step.kept > 0
    step.loss.backward()
    assert bool(torch.isfinite(flat_grad(case)).all())
    assert bool(flat_grad(case).any())


def test_a_score_that_is_not_finite_is_dropped():
    case = mlp()

    def odd(context):
        return torch.where(torch.arange(len(context.losses)) == 4, torch.nan, 1.0)

    step = reweighter(case, scorer=odd, on_nonfinite="drop")(case.noisy, case.trusted)
    assert step.weights[4] == 0
    assert bool(torch.isfinite(step.weights).all())
    step.loss.backward()
    assert bool(torch.isfinite(flat_grad(case)).all())


@pytest.mark.parametrize("name", ["mlp", "batchnorm_train", "voxel_map"])
def test_every_sample_dropped(name):
    case = PROBLEMS[name]()
    case.noisy = spoil(case.noisy, [0, 1, 2, 3, 4])
    before = {key: buffer.clone() for key, buffer in case.model.named_buffers()}
    start = random_state()
    step = reweighter(case, on_nonfinite="drop")(case.noisy, case.trusted)
    assert step.empty
    assert step.kept == 0
    assert step.loss.item() == 0
    step.loss.backward()
    assert not flat_grad(case).any()
    assert torch.equal(random_state(), start)
    for key, buffer in case.model.named_buffers():
        assert torch.equal(buffer, before[key]), key


def test_every_sample_dropped_and_uniform_asked_for():
    case = mlp()
    case.noisy = spoil(case.noisy, [0, 1, 2, 3, 4])
    step = reweighter(case, on_nonfinite="drop", on_empty="uniform")(case.noisy, case.trusted)
    assert step.kept == 0
    step.loss.backward()
    assert not flat_grad(case).any()


def test_uniform_weights_go_to_the_finite_samples():
    case = mlp()
    case.noisy = spoil(case.noisy, BAD)
    weigh = reweighter(
        case, scorer=lambda context: -context.losses, on_nonfinite="drop", on_empty="uniform"
    )
    step = weigh(case.noisy, case.trusted)
    assert step.empty
    assert_same(step.weights, torch.tensor([1, 0, 1, 0, 1]) / 3, 1e-6)
    step.loss.backward()
    assert bool(torch.isfinite(flat_grad(case)).all())


@pytest.mark.parametrize("beta", [0.0, 0.5])
@pytest.mark.parametrize("name", ["mlp", "batchnorm_train"])
def test_trusted_samples_are_dropped_too(name, beta):
    case, part = PROBLEMS[name](), PROBLEMS[name]()
    case.trusted = spoil(case.trusted, [1])
    part.trusted = only(part.trusted, [0, 2, 3])
    expected = reweighter(part, trusted_coefficient=beta)(part.noisy, part.trusted)
    weigh = reweighter(case, trusted_coefficient=beta, on_nonfinite="drop")
    step = weigh(case.noisy, case.trusted)
    assert_same(step.weights, expected.weights, 1e-9)
    step.loss.backward()
    expected.loss.backward()
    assert_same(flat_grad(case), flat_grad(part), 1e-9)


def test_no_trusted_sample_left():
    """There is nothing to judge by: say so, or keep nobody; never NaN."""
    case = mlp()
    case.trusted = spoil(case.trusted, [0, 1, 2, 3])
    weigh = reweighter(case, scorer=GradientSimilarity(), on_nonfinite="drop")
    try:
        step = weigh(case.noisy, case.trusted)
    except NonFiniteError as error:
        assert error.batch == "trusted"  # noqa: PT017
    else:
        assert step.empty
        step.loss.backward()
        assert not flat_grad(case).any()


def test_a_voxel_that_is_not_finite():
    case = voxel_map()
    target = case.noisy[1].clone()
    target[1, 0, 0, 0, 0] = float("nan")
    case.noisy = case.noisy[0], target
    weigh = reweighter(case, granularity="element", on_nonfinite="raise")
    with pytest.raises(NonFiniteError) as caught:
        weigh(case.noisy, case.trusted)
    assert caught.value.indices == [1]
    weigh = reweighter(case, granularity="element", on_nonfinite="drop")
    step = weigh(case.noisy, case.trusted)
    assert bool(torch.isfinite(step.weights).all())
    assert step.weights[1, 0, 0, 0, 0] == 0
    assert step.kept > 0
    step.loss.backward()
    assert bool(torch.isfinite(flat_grad(case)).all())
    assert bool(flat_grad(case).any())


def test_a_finite_batch_is_not_touched_by_the_option(case):
    first = reweighter(case).score(case.noisy, case.trusted)
    second = reweighter(case, on_nonfinite="drop").score(case.noisy, case.trusted)
    assert near(first.weights, second.weights)


def test_scoring_with_drop_leaves_everything_as_found():
    case = PROBLEMS["batchnorm_train"]()
    case.noisy = spoil(case.noisy, BAD)
    weigh = reweighter(case, on_nonfinite="drop")
    snapshot = Snapshot(case.model)
    weigh.score(case.noisy, case.trusted)
    assert snapshot.changed() == []


def test_a_batch_that_cannot_be_narrowed():
    case = opaque_batch()
    case.noisy.image[2] = float("nan")
    with pytest.raises(TypeError, match="on_nonfinite"):
        reweighter(case, on_nonfinite="drop")(case.noisy, case.trusted)


def test_padding_that_the_model_ignores_is_no_reason_to_drop():
    """The loss says whether a sample is finite, not a value that never reaches it."""

    class FirstSix(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(6, 3)

        def forward(self, x):
            return self.head(x[:, :6])

    with float64():
        case = Case(FirstSix(), last="head", loss=cross_entropy, **classified(8))
    case.noisy[0][:, 6:] = float("nan")
    case.trusted[0][:, 6:] = float("nan")
    expected = oracle.gradient_similarity(case.model, case.sample_losses, case.noisy, case.trusted)
    for policy in ("raise", "drop"):
        weigh = reweighter(case, scorer=GradientSimilarity(), on_nonfinite=policy)
        step = weigh(case.noisy, case.trusted)
        assert_same(step.scores["gradient_similarity"], expected, 1e-9)


def test_an_error_after_samples_were_left_out_says_so():
    """Both sides of an adjacency matrix are samples, and only one can be known to be."""
    torch.manual_seed(0)
    model = nn.Linear(5, 3)

    def losses_of(model, batch):
        x, neighbours, y = batch
        return F.cross_entropy(model(neighbours @ x), y, reduction="none")

    batch = (torch.randn(4, 5), torch.eye(4), torch.randint(3, (4,)))
    bad = (torch.cat([torch.full((1, 5), float("nan")), batch[0][1:]]), *batch[1:])
    bad[1][1:, 0] = 0
    weigh = MetaReweighter(model, forward=losses_of, on_nonfinite="drop")
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied") as found:
        weigh(bad, batch)
    assert any("leave_out=" in note for note in found.value.__notes__)
    with pytest.raises(RuntimeError) as other:
        weigh((batch[0][:, :2], *batch[1:]), batch)
    assert not getattr(other.value, "__notes__", [])
