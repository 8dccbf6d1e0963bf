"""GradientSimilarity: the restriction to some parameters, and what trusted_gradient() is."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from reweight import GradientSimilarity
from tests import oracle
from tests.comparing import assert_same
from tests.helpers import expected_similarity, scored, similarity
from tests.problems import PROBLEMS, frozen, mlp, tied, unet3d


def restricted(case, names):
    chosen = [p for name, p in case.model.named_parameters() if name in names]
    return oracle.gradient_similarity(
        case.model, case.sample_losses, case.noisy, case.trusted, chosen
    )


@pytest.mark.parametrize("method", ["forward", "double_backward", "finite_difference", "unrolled"])
@pytest.mark.parametrize(
    "select",
    [
        lambda model: model[2],
        lambda model: list(model[2].parameters()),
        lambda model: (p for p in model[2].parameters()),
        lambda _: "2.*",
        lambda _: ["2.weight", "2.b*"],
    ],
    ids=["module", "list", "generator", "pattern", "patterns"],
)
def test_restriction(select, method):
    case = mlp()
    expected = restricted(case, {"2.weight", "2.bias"})
    actual = similarity(case, parameters=select(case.model), method=method)
    assert_same(actual, expected, 1e-4 if method == "finite_difference" else 1e-9)


def test_a_generator_of_parameters_serves_every_step():
    case = mlp()
    scorer = GradientSimilarity(parameters=case.model[2].parameters())
    first = scored(case, scorer).scores["gradient_similarity"]
    second = scored(case, scorer).scores["gradient_similarity"]
    assert torch.equal(first, second)


def test_restriction_to_a_tied_parameter_by_either_name():
    case = tied()
    expected = restricted(case, {"embedding.weight"})
    for name in ("embedding.weight", "head.weight"):
        assert_same(similarity(case, parameters=name), expected, 1e-9)


def test_restriction_to_a_deep_module():
    case = unet3d()
    expected = restricted(case, {"up.weight", "up.bias"})
    assert_same(similarity(case, parameters=case.model.up), expected, 1e-9)


def test_restriction_skips_what_is_frozen():
    case = frozen()
    expected = restricted(case, {"body.weight"})
    assert_same(similarity(case, parameters="body.*"), expected, 1e-9)


@pytest.mark.parametrize("pattern", ["nothing.*", ["2.*", "nothing.*"], ""])
def test_a_pattern_that_matches_nothing(pattern):
    with pytest.raises(ValueError, match=r"nothing|match|''"):
        similarity(mlp(), parameters=pattern)


def test_parameters_of_another_model():
    with pytest.raises(ValueError, match="parameter"):
        similarity(mlp(), parameters=nn.Linear(2, 2))


def test_restriction_to_frozen_parameters_only():
    with pytest.raises(ValueError, match="parameter"):
        similarity(frozen(), parameters="stem.*")


@pytest.mark.parametrize("name", ["mlp", "batchnorm_train", "tied", "frozen", "unused", "lstm"])
def test_trusted_gradient(name):
    case = PROBLEMS[name]()
    seen = {}

    def own(context):
        seen.update(context.trusted_gradient())
        return context.losses

    scored(case, own)
    parameters = oracle.trainable(case.model)
    assert set(seen) <= set(parameters)
    values = [seen.get(key, torch.zeros_like(p)) for key, p in parameters.items()]
    expected = oracle.mean_gradient(case.model, case.sample_losses, case.trusted)
    assert_same(oracle.flat(values), expected, 1e-12)
    assert not any(value.requires_grad for value in seen.values())


def test_a_parameter_frozen_after_construction():
    case = mlp()
    scorer = GradientSimilarity()
    scored(case, scorer)
    case.model[0].requires_grad_(False)
    actual = scored(case, scorer).scores["gradient_similarity"]
    assert_same(actual, expected_similarity(case), 1e-9)


@pytest.mark.parametrize("factor", [1e-30, 1e30])
def test_scores_of_extreme_losses_are_still_told_apart(factor):
    """In float32 the products of such gradients lie beyond the range, or below it."""
    case = mlp()
    plain, loss = expected_similarity(case), case.loss
    case.model.float()
    case.noisy, case.trusted = ((x.float(), y) for x, y in (case.noisy, case.trusted))
    case.loss = lambda output, target: factor * loss(output, target)
    weights = scored(case, GradientSimilarity(), selector=lambda w: w).weights
    positive = plain.clamp(min=0)
    assert_same(weights, positive / positive.sum(), 1e-4)
