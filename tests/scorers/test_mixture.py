"""Eq. 8: each part is normalised, then mixed."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reweight import (
    GradientSimilarity,
    KeepAll,
    LastLayerGradient,
    LossMagnitude,
    MetaReweighter,
    RandomWeights,
    Rectify,
    Uniform,
    as_scorer,
    normalize,
)
from reweight.normalize import per_unit_of
from tests import oracle
from tests.comparing import assert_same
from tests.device import random_state
from tests.helpers import expected_similarity, reweighter, scored
from tests.problems import mlp

scores = st.lists(st.floats(-10, 10), min_size=5, max_size=5)


def g(values):
    positive = values.clamp(min=0)
    return positive / positive.sum()


def both(case):
    """⟨∇L_i, ∇L_v⟩ and ‖∂L_i/∂θ_out‖ of every sample, by plain autograd."""
    norms = oracle.last_layer_norms(case.model, case.sample_losses, case.noisy, case.last)
    return expected_similarity(case), norms


def test_eq_8_rectified_by_the_paper():
    case = mlp()
    a, b = both(case)
    mixed = 0.5 * g(a) + 0.5 * g(b)
    expected = torch.where(mixed >= 1 / 5, mixed, 0)
    assert 0 < (expected > 0).sum() < 5
    step = MetaReweighter.paper(case.model, case.loss).score(case.noisy, case.trusted)
    assert_same(step.weights, expected, 1e-9)


def test_by_default_similarity_is_taken_for_each_unit_of_the_last_layers_gradient():
    case = mlp()
    a, b = both(case)
    step = MetaReweighter(case.model, case.loss).score(case.noisy, case.trusted)
    assert_same(step.weights, g(a / (b + 1e-3 * b.square().mean().sqrt())), 1e-9)
    assert_same(step.scores["gradient_similarity"], a, 1e-9)
    assert_same(step.scores["last_layer_gradient"], b, 1e-9)


def test_a_quotient_and_a_sum():
    case = mlp()
    a, b = both(case)
    ratio = GradientSimilarity() / LastLayerGradient()
    step = scored(case, 0.3 * ratio + 0.7 * LossMagnitude(), selector=KeepAll())
    losses = case.sample_losses(case.model, case.noisy).detach()
    divided = a / (b + 1e-3 * b.square().mean().sqrt())
    assert_same(step.weights, 0.3 * g(divided) + 0.7 * g(losses), 1e-9)
    assert list(step.scores) == ["gradient_similarity", "last_layer_gradient", "loss_magnitude"]


def test_a_scorer_in_two_places_is_asked_once():
    asked = []

    def norm(context):
        asked.append(1)
        return context.losses

    size = as_scorer(norm)
    step = scored(mlp(), GradientSimilarity() / size + size)
    assert len(asked) == 1
    assert list(step.scores) == ["gradient_similarity", "norm"]


def test_nothing_is_divided_by_sizes_that_are_all_zero():
    score = torch.tensor([1.0, 2.0, 3.0, -1.0, 0.0]).double()
    zero = as_scorer(lambda _: torch.zeros(5).double())
    step = scored(mlp(), as_scorer(lambda _: score) / zero)
    assert_same(step.weights, g(score), 1e-12)


@given(scores, st.lists(st.floats(0, 1e30), min_size=5, max_size=5))
def test_quotients_of_any_numbers_are_finite_and_of_the_same_sign(values, sizes):
    above, below = torch.tensor(values).double(), torch.tensor(sizes).double()
    found = per_unit_of(above, below)
    assert found.isfinite().all()
    assert (found.sign() == above.sign())[above.abs() > 1e-200].all()


def test_a_sum_cannot_be_divided():
    with pytest.raises(ValueError, match="divide them one by one"):
        (GradientSimilarity() + LossMagnitude()) / LastLayerGradient()


@pytest.mark.parametrize("share", [0.0, 0.2, 0.9, 1.0])
def test_lambda(share):
    case = mlp()
    a = g(expected_similarity(case))
    b = g(oracle.last_layer_norms(case.model, case.sample_losses, case.noisy, case.last))
    scorer = share * GradientSimilarity() + (1 - share) * LastLayerGradient()
    step = scored(case, scorer, selector=KeepAll())
    assert_same(step.weights, share * a + (1 - share) * b, 1e-9)


@given(scores, scores, st.floats(0, 1))
def test_any_two_scores(first, second, share):
    one, two = torch.tensor(first).double(), torch.tensor(second).double()
    scorer = share * as_scorer(lambda _: one) + (1 - share) * as_scorer(lambda _: two)
    step = scored(mlp(), scorer, selector=KeepAll())
    torch.testing.assert_close(
        step.weights, share * normalize(one) + (1 - share) * normalize(two), rtol=1e-9, atol=1e-12
    )


@pytest.mark.parametrize(
    "make",
    [
        lambda: GradientSimilarity() + LossMagnitude(),
        lambda: 3 * GradientSimilarity() + 3 * LossMagnitude(),
        lambda: GradientSimilarity() * 0.5 + LossMagnitude() * 0.5,
        lambda: 0.25 * (GradientSimilarity() + GradientSimilarity()) + 0.5 * LossMagnitude(),
    ],
)
def test_coefficients_are_relative(make):
    case = mlp()
    a = g(expected_similarity(case))
    b = g(case.sample_losses(case.model, case.noisy).detach())
    assert_same(scored(case, make(), selector=KeepAll()).weights, 0.5 * a + 0.5 * b, 1e-9)


def test_three_parts():
    case = mlp()
    scorer = GradientSimilarity() + 2 * LossMagnitude() + Uniform()
    a = g(expected_similarity(case))
    b = g(case.sample_losses(case.model, case.noisy).detach())
    expected = (a + 2 * b + torch.full((5,), 0.2, dtype=torch.float64)) / 4
    assert_same(scored(case, scorer, selector=KeepAll()).weights, expected, 1e-9)


def test_one_scaled_scorer_is_the_scorer():
    case = mlp()
    plain = scored(case, LossMagnitude()).weights
    assert_same(scored(case, 0.1 * LossMagnitude()).weights, plain, 1e-12)


def test_a_part_with_no_positive_score_adds_nothing():
    case = mlp()
    scorer = 0.5 * Uniform() + 0.5 * as_scorer(lambda context: -context.losses)
    step = scored(case, scorer, selector=KeepAll())
    assert_same(step.weights, torch.full((5,), 0.1, dtype=torch.float64), 1e-12)


def test_the_scores_are_raw_and_named():
    case = mlp()

    def my_own(context):
        return context.losses + 1

    scorer = (
        GradientSimilarity() + LastLayerGradient() + LossMagnitude() + Uniform()
        + RandomWeights() + as_scorer(my_own)
    )  # fmt: skip
    step = scored(case, scorer)
    assert set(step.scores) == {
        "gradient_similarity",
        "last_layer_gradient",
        "loss_magnitude",
        "uniform",
        "random_weights",
        "my_own",
    }
    losses = case.sample_losses(case.model, case.noisy)
    assert_same(step.scores["loss_magnitude"], losses, 1e-12)
    assert_same(step.scores["my_own"], losses + 1, 1e-12)
    assert_same(step.scores["uniform"], torch.ones(5), 1e-12)
    assert_same(step.scores["gradient_similarity"], expected_similarity(case), 1e-9)
    assert not any(score.requires_grad for score in step.scores.values())


def test_two_scorers_of_one_kind_are_both_reported():
    case = mlp()
    scorer = GradientSimilarity() + GradientSimilarity(parameters="2.*")
    assert len(scored(case, scorer).scores) == 2


@pytest.mark.parametrize("coefficient", [-0.5, float("nan"), float("inf")])
def test_coefficients_that_make_no_sense(coefficient):
    with pytest.raises(ValueError, match="coefficient"):
        coefficient * Uniform() + LossMagnitude()


def test_coefficients_that_are_all_zero():
    with pytest.raises(ValueError, match="coefficient"):
        scored(mlp(), 0 * Uniform() + 0 * LossMagnitude())


@pytest.mark.parametrize("other", ["text", None, 3])
def test_what_cannot_be_added(other):
    with pytest.raises(TypeError):
        Uniform() + other


def test_random_weights_are_a_rectified_normal_of_their_own():
    case = mlp()
    state = random_state()
    draws = torch.cat(
        [scored(case, RandomWeights(seed=s)).scores["random_weights"] for s in range(400)]
    )
    assert torch.equal(random_state(), state)
    assert bool((draws >= 0).all())
    assert (draws == 0).double().mean().item() == pytest.approx(0.5, abs=0.05)
    assert draws.double().mean().item() == pytest.approx(0.3989, abs=0.05)


def test_random_weights_differ_from_step_to_step_and_repeat_by_seed():
    case = mlp()
    runs = []
    for _ in range(2):
        scorer = RandomWeights(seed=3)
        runs.append([scored(case, scorer).scores["random_weights"] for _ in range(3)])
    assert not torch.equal(runs[0][0], runs[0][1])
    assert all(torch.equal(a, b) for a, b in zip(*runs, strict=True))


def test_random_weights_can_be_resumed():
    case = mlp()
    scorer, other = RandomWeights(seed=3), RandomWeights(seed=9)
    scored(case, scorer)
    state = scorer.state_dict()
    following = scored(case, scorer).scores["random_weights"]
    other.load_state_dict(state)
    assert torch.equal(scored(case, other).scores["random_weights"], following)


@pytest.mark.parametrize("selector", [KeepAll(), Rectify()])
@pytest.mark.parametrize("count", [1, 3, 5, 7, 49])
def test_uniform_scores_are_the_plain_mean_loss(count, selector):
    case = mlp()
    inputs, target = case.noisy
    case.noisy = inputs.repeat(10, 1)[:count] + 0.1, target.repeat(10)[:count]
    step = reweighter(case, scorer=Uniform(), selector=selector)(case.noisy, case.trusted)
    losses = case.sample_losses(case.model, case.noisy)
    assert_same(step.loss, losses.mean(), 1e-12)
    step.loss.backward()
    actual = oracle.flat([p.grad for p in case.model.parameters()])
    assert_same(actual, oracle.gradient(losses.mean(), list(case.model.parameters())), 1e-12)
    assert step.kept == count
    assert step.effective_sample_size == pytest.approx(count)
