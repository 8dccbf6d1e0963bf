"""One weight for every element of the loss map."""

from __future__ import annotations

import warnings

import pytest
from torch import nn

from reweight import GradientSimilarity, KeepAll, LastLayerGradient, MetaReweighter, Uniform
from tests import oracle
from tests.comparing import assert_same
from tests.helpers import flat_grad, last_layer, reweighter, scored, similarity
from tests.problems import PROBLEMS, mlp

MAPS = [
    "voxel_map",
    "unet3d",
    "linear_sequence",
    "flattened",
    "time_first",
    "grouped_conv_head",
    "dilated_same_conv_head",
    "circular_conv_head",
    "transposed_conv_head",
    "conv1d_head",
    "shared_head",
    "inplace_relu_last",
]


# Of these outputs no position belongs to one element: a backward pass an element, and a word.
COSTLY = {"shared_head"}


@pytest.fixture(params=MAPS)
def case(request):
    return PROBLEMS[request.param]()


def map_shape(case):
    with oracle.undisturbed(case.model):
        return case.losses(case.model, case.noisy).shape


@pytest.mark.compatibility(
    "loss", 'Loss maps weighed element by element (granularity="element")', "exact"
)
@pytest.mark.parametrize("method", ["forward", "double_backward", "unrolled"])
def test_similarity_equals_the_loop(case, method):
    expected = oracle.gradient_similarity(case.model, case.losses, case.noisy, case.trusted)
    actual = similarity(case, granularity="element", method=method)
    assert_same(actual, expected.reshape(map_shape(case)), 1e-9)


def test_finite_differences_are_close(case):
    expected = oracle.gradient_similarity(case.model, case.losses, case.noisy, case.trusted)
    actual = similarity(case, granularity="element", method="finite_difference")
    assert_same(actual, expected.reshape(map_shape(case)), 1e-4)


@pytest.mark.parametrize("name", MAPS)
def test_last_layer_equals_the_loop(name):
    case = PROBLEMS[name]()
    expected = oracle.last_layer_norms(case.model, case.losses, case.noisy, case.last)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore" if name in COSTLY else "error", UserWarning)
        actual = last_layer(case, granularity="element")
    assert_same(actual, expected.reshape(map_shape(case)), 1e-9)


def test_the_step_is_a_map(case):
    weigh = reweighter(case, scorer=GradientSimilarity(), granularity="element")
    step = weigh(case.noisy, case.trusted)
    shape = map_shape(case)
    assert step.weights.shape == step.losses.shape == shape
    assert all(score.shape == shape for score in step.scores.values())
    assert step.kept == int((step.weights > 0).sum())
    assert step.weights.sum() <= 1 + 1e-12
    assert_same(step.loss, (step.weights * step.losses).sum(), 1e-12)


def test_uniform_elements_are_the_mean_loss(case):
    weigh = reweighter(case, scorer=Uniform(), granularity="element")
    weigh(case.noisy, case.trusted).loss.backward()
    expected = oracle.mean_gradient(case.model, case.losses, case.noisy)
    assert_same(flat_grad(case), expected, 1e-12)


def test_the_sum_over_a_sample_is_the_sample(case):
    """Scores are linear in the losses."""
    elements = similarity(case, granularity="element")
    assert_same(elements.flatten(1).mean(1), similarity(case), 1e-9)


def test_sample_losses_are_elements_too():
    case = mlp()
    one = scored(case, GradientSimilarity(), granularity="element", selector=KeepAll())
    two = scored(case, GradientSimilarity(), granularity="sample", selector=KeepAll())
    assert_same(one.weights, two.weights, 1e-12)


def test_last_layer_through_a_softmax_over_elements():
    """Losses that couple the elements of one sample are not pointwise, and exact all the same."""
    case = PROBLEMS["linear_sequence"]()
    case.loss = lambda output, _: -output[..., 0].log_softmax(1)
    expected = oracle.last_layer_norms(case.model, case.losses, case.noisy, case.last)
    actual = scored(case, LastLayerGradient(), granularity="element")
    assert_same(actual.scores["last_layer_gradient"], expected.reshape(map_shape(case)), 1e-9)


def test_an_unknown_granularity():
    with pytest.raises(ValueError, match="granularity"):
        MetaReweighter(nn.Linear(2, 2), nn.MSELoss(reduction="none"), granularity="voxel")


def test_gradients_of_a_weighted_map(case):
    weigh = reweighter(case, scorer=GradientSimilarity(), granularity="element")
    step = weigh(case.noisy, case.trusted)
    step.loss.backward()
    rows = oracle.per_sample_gradients(case.model, case.losses, case.noisy)
    assert step.kept > 0
    assert_same(flat_grad(case), step.weights.reshape(-1) @ rows, 1e-9)
