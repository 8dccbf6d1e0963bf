from __future__ import annotations

import pytest
import torch
from torch import nn

from benchmarks.sets.network import build_network
from benchmarks.sets.problem import Problem
from benchmarks.trials.learnt_mixture import LearntMixture
from benchmarks.trials.report.looks import LOOKS
from benchmarks.trials.rows import ROWS, TRUSTED, Made, loss_of, selected
from reweight import GradientSimilarity, LastLayerGradient, WeightingContext, normalize

cross_entropy = nn.functional.cross_entropy
WEIGHED = [name for name, row in ROWS.items() if row.build is not None]


@pytest.fixture
def problem():
    stream = torch.Generator().manual_seed(0)
    inputs = torch.randn(12, 1, 9, 9, generator=stream)
    labels = torch.randint(0, 3, (12,), generator=stream)
    truth = labels.clone()
    truth[:3] = (truth[:3] + 1) % 3
    part = inputs[8:], labels[8:]
    return Problem(
        pool=(inputs[:8], labels[:8]),
        truth=truth[:8],
        trusted=part,
        validation=part,
        test=part,
        classes=3,
        network=lambda seed, purpose: build_network(9, 9, 3, seed, purpose),
    )


def made(name, problem, seed=0):
    model = problem.network(0, "test")
    row = ROWS[name]
    return model, row.build(Made(model, problem, seed, loss_of(row, problem), {}))


def step(name, problem, seed=0):
    model, reweighter = made(name, problem, seed)
    ids = torch.arange(len(problem.pool[1]))
    return model, reweighter(problem.pool, problem.trusted, ids=ids, groups=problem.pool[1])


def gradients(model, loss):
    return torch.autograd.grad(loss, list(model.parameters()))


def one_by_one(model, problem):
    """The gradients of the samples, by a backward pass each, and that of the trusted loss."""

    def flat(inputs, labels):
        loss = cross_entropy(model(inputs), labels)
        return torch.cat([gradient.flatten() for gradient in gradients(model, loss)])

    samples = zip(*(part.split(1) for part in problem.pool), strict=True)
    return torch.stack([flat(*sample) for sample in samples]), flat(*problem.trusted)


def test_every_row_has_a_look():
    assert set(LOOKS) == set(ROWS)


@pytest.mark.parametrize("name", WEIGHED)
def test_every_row_makes_a_step_whose_loss_has_a_gradient(problem, name):
    model, found = step(name, problem)
    assert found.loss.isfinite()
    assert any(bool(g.abs().sum() > 0) for g in gradients(model, found.loss))


@pytest.mark.parametrize(("name", "share"), [("plain+trusted", TRUSTED), ("plain+trusted-1", 1.0)])
def test_plain_and_trusted_is_the_sum_of_mean_losses(problem, name, share):
    model, found = step(name, problem)
    noisy, trusted = (cross_entropy(model(x), y) for x, y in (problem.pool, problem.trusted))
    torch.testing.assert_close(
        gradients(model, found.loss), gradients(model, noisy + share * trusted)
    )


def test_similarity_is_the_normalised_product_of_gradients(problem):
    model, found = step("similarity", problem)
    samples, trusted = one_by_one(model, problem)
    expected = (samples @ trusted).clamp(min=0)
    torch.testing.assert_close(found.weights, (expected / expected.sum()).detach())


@pytest.mark.parametrize("name", ["loss-table", "sample-weights"])
def test_one_table_learns_from_small_losses_the_other_from_similarity(problem, name):
    model, reweighter = made(name, problem)
    reweighter(problem.pool, problem.trusted, ids=torch.arange(8))
    losses = cross_entropy(model(problem.pool[0]), problem.pool[1], reduction="none")
    samples, trusted = one_by_one(model, problem)
    last = sum(parameter.numel() for parameter in model[-1].parameters())
    similarity = (samples @ trusted) / samples[:, -last:].norm(dim=1)
    score = losses.mean() - losses if name == "loss-table" else similarity
    expected = (score / score.square().mean().sqrt()).clamp(-3, 3).detach()
    torch.testing.assert_close(reweighter.weighting.remembered, expected, atol=1e-3, rtol=1e-3)


def test_random_weights_depend_on_the_seed(problem):
    weights = [step("random", problem, seed)[1].weights for seed in (0, 0, 1)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_the_trusted_term_is_a_tenth_but_where_a_row_says_otherwise(problem):
    without = {"paper", "default", "mended-labels-0"}
    other = dict.fromkeys(without, 0.0) | {"plain+trusted-1": 1.0, "mended-labels-1": 1.0}
    found = {name: made(name, problem)[1].trusted_coefficient for name in WEIGHED}
    assert found == {name: other.get(name, TRUSTED) for name in WEIGHED}


def test_the_adjusted_loss_adds_the_log_of_how_frequent_a_class_is(problem):
    logits = torch.randn(8, 3)
    labels = problem.pool[1]
    frequencies = (labels.bincount(minlength=3) + 1).float()
    expected = cross_entropy(logits + (frequencies / 11).log(), labels, reduction="none")
    found = loss_of(ROWS["logit-adjustment"], problem)(logits, labels)
    torch.testing.assert_close(found, expected)  # a constant in all logits changes nothing


def test_the_oracle_trains_on_the_rightly_labelled_alone(problem):
    assert selected(ROWS["clean+trusted"], problem).tolist() == [3, 4, 5, 6, 7]
    assert selected(ROWS["sample-weights"], problem).tolist() == list(range(8))


def test_a_lambda_set_on_the_fly_is_the_gradient_of_what_the_weights_gain():
    torch.manual_seed(0)
    scores, sizes = torch.randn(6).double(), torch.rand(6).double()
    named = {"gradient_similarity": scores, "last_layer_gradient": sizes}
    mixture = GradientSimilarity() + LastLayerGradient()
    context = WeightingContext(scores.abs(), named, mixture, None, None, training=True)
    weighting = LearntMixture(rate=0.5)

    logit = torch.zeros((), dtype=torch.float64, requires_grad=True)
    share = torch.sigmoid(logit)
    gain = (context.score * (share * normalize(scores) + (1 - share) * normalize(sizes))).sum()
    (gradient,) = torch.autograd.grad(gain, logit)
    weighting.learn(context)
    torch.testing.assert_close(weighting.logit, 0.5 * gradient / 0.25)  # σ' at zero
    share = weighting.share
    expected = share * normalize(scores) + (1 - share) * normalize(sizes)
    torch.testing.assert_close(weighting(context), expected)
