"""The library names the device of whatever it makes; and how the tests are put on another one."""

from __future__ import annotations

import pytest
import torch

from reweight import (
    GradientSimilarity,
    KeepAll,
    LastLayerGradient,
    LossMagnitude,
    MetaReweighter,
    RandomWeights,
    Rectify,
    TopK,
    Uniform,
)
from reweight.lookahead import SGD
from tests import device, problems
from tests.comparing import assert_same

METHODS = ("forward", "double_backward", "finite_difference", "unrolled")
SCORERS = {
    "default": lambda: None,
    **{method: lambda method=method: GradientSimilarity(method) for method in METHODS},
    "look-ahead": lambda: GradientSimilarity(lookahead=SGD(lr=0.3)),
    "renewed": lambda: GradientSimilarity(renew_every=2, averaging=0.5),
    "norms": LastLayerGradient,
    "magnitude": LossMagnitude,
    "random": RandomWeights,
    "uniform": Uniform,
}
SELECTORS = {"all": KeepAll, "rectified": Rectify, "top": lambda: TopK(0.5)}


def step(case, training, **options):
    reweighter = MetaReweighter(case.model, case.loss, **options)
    for _ in range(2):  # in the second one things are kept from the first
        call = reweighter if training else reweighter.score
        torch.manual_seed(3)
        found = call(case.noisy, case.trusted)
    if training:
        found.loss.backward()
    return found


def assert_equal_where_the_default_device_is_another(make, training=True, **options):
    here = step(make(), training, **{name: value() for name, value in options.items()})
    case = make()
    # What is made without a device lands where nothing is computed, and meets the CPU's.
    with torch.device("meta"):
        there = step(case, training, **{name: value() for name, value in options.items()})
    assert there.weights.device == here.weights.device
    for name, scores in here.scores.items():
        assert_same(there.scores[name], scores, 0.0)
    assert_same(there.weights, here.weights, 0.0)
    assert_same(there.loss, here.loss, 0.0)


@pytest.mark.parametrize("training", [True, False], ids=["training", "score"])
@pytest.mark.parametrize(
    "name", ["mlp", "dropout", "batchnorm_train", "unet3d", "frozen", "unused"]
)
def test_a_default_device_elsewhere_changes_nothing(name, training):
    assert_equal_where_the_default_device_is_another(problems.PROBLEMS[name], training)


@pytest.mark.parametrize("scorer", SCORERS)
def test_no_scorer_makes_a_tensor_on_the_default_device(scorer):
    assert_equal_where_the_default_device_is_another(problems.mlp, scorer=SCORERS[scorer])


@pytest.mark.parametrize("selector", SELECTORS)
def test_no_selector_makes_a_tensor_on_the_default_device(selector):
    assert_equal_where_the_default_device_is_another(problems.mlp, selector=SELECTORS[selector])


@pytest.mark.parametrize(
    "option",
    [
        {"trusted_coefficient": lambda: 0.5},
        {"granularity": lambda: "element"},
        {"on_empty": lambda: "uniform"},
        {"on_nonfinite": lambda: "drop"},
    ],
    ids=lambda option: next(iter(option)),
)
def test_no_option_makes_a_tensor_on_the_default_device(option):
    assert_equal_where_the_default_device_is_another(problems.unet3d, **option)


def test_dropped_samples_are_put_back_on_the_device_of_the_losses():
    def make():
        case = problems.mlp()
        case.noisy[0][1] = torch.nan
        return case

    case = make()
    with torch.device("meta"):
        found = step(case, True, on_nonfinite="drop")
    assert found.dropped == (1,)
    assert found.weights[1] == 0


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("mps", "no float64"),
        ("meta", "cannot compute"),
        ("cudaa", "cudaa"),
        ("cuda:97", "cannot compute"),
    ],
)
def test_a_device_that_is_not_there_is_an_error_that_names_it(name, words):
    with pytest.raises(pytest.UsageError, match=rf"REWEIGHT_TEST_DEVICE={name}: .*{words}"):
        device.wanted(name)


def test_the_device_asked_for_is_the_default_one():
    asked = device.wanted()
    assert torch.get_default_device().type == ("cpu" if asked is None else asked.type)
    assert device.wanted("") is None
    assert device.wanted("cpu") == torch.device("cpu")


def test_random_streams_are_put_back_on_every_device():
    state = device.random_state()
    first = torch.rand(3)
    assert not torch.equal(device.random_state(), state)
    device.set_random_state(state)
    assert torch.equal(torch.rand(3), first)
