"""Look-ahead optimisers against Algorithm 1 unrolled by hand."""

from __future__ import annotations

import copy

import pytest
import torch
import torchopt

from reweight import GradientSimilarity
from reweight.lookahead import SGD, LiveOptimizer, TorchOptLookahead
from tests import oracle
from tests.comparing import assert_same
from tests.helpers import expected_similarity, reweighter, scored, similarity
from tests.problems import PROBLEMS, mlp

METHODS = ("auto", "forward", "double_backward", "unrolled")
TORCHOPT = {
    "sgd": lambda: torchopt.sgd(0.3),
    "momentum": lambda: torchopt.sgd(0.3, momentum=0.9),
    "dampening": lambda: torchopt.sgd(0.3, momentum=0.9, dampening=0.4),
    "nesterov": lambda: torchopt.sgd(0.3, momentum=0.9, nesterov=True),
    "weight_decay": lambda: torchopt.sgd(0.3, weight_decay=0.2),
    "adam": lambda: torchopt.adam(0.1, eps_root=1e-4),
    "adam_weight_decay": lambda: torchopt.adam(0.1, eps_root=1e-4, weight_decay=0.1),
    "adamw": lambda: torchopt.adamw(0.1, eps_root=1e-4, weight_decay=0.3),
}


def unrolled(case, optimizer, inner_steps=1):
    return oracle.meta_gradient(
        case.model, case.sample_losses, case.noisy, case.trusted, optimizer, inner_steps
    )


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("optimizer", TORCHOPT)
def test_torchopt(optimizer, method):
    case = mlp()
    expected = unrolled(case, TORCHOPT[optimizer]())
    assert_same(similarity(case, method=method, lookahead=TORCHOPT[optimizer]()), expected, 1e-9)


@pytest.mark.parametrize("name", ["batchnorm_train", "tied", "frozen", "unused", "dropout"])
@pytest.mark.parametrize("optimizer", ["nesterov", "adamw"])
@pytest.mark.parametrize("method", ["forward", "unrolled"])
def test_torchopt_on_other_models(name, optimizer, method):
    case = PROBLEMS[name]()
    expected = unrolled(case, TORCHOPT[optimizer]())
    assert_same(similarity(case, method=method, lookahead=TORCHOPT[optimizer]()), expected, 1e-9)


@pytest.mark.parametrize("optimizer", ["sgd", "nesterov", "adamw"])
@pytest.mark.parametrize("inner_steps", [2, 3])
@pytest.mark.parametrize("name", ["mlp", "batchnorm_train"])
def test_inner_steps(name, inner_steps, optimizer):
    case = PROBLEMS[name]()
    expected = unrolled(case, TORCHOPT[optimizer](), inner_steps)
    assert not torch.allclose(expected, unrolled(case, TORCHOPT[optimizer]()))
    actual = similarity(
        case, method="unrolled", lookahead=TORCHOPT[optimizer](), inner_steps=inner_steps
    )
    assert_same(actual, expected, 1e-9)


def test_inner_steps_of_plain_sgd():
    case = mlp()
    actual = similarity(case, method="unrolled", lookahead=SGD(lr=0.5), inner_steps=3)
    assert_same(actual, unrolled(case, torchopt.sgd(0.5), 3), 1e-9)


@pytest.mark.parametrize("inner_steps", [0, -1, 1.5])
def test_inner_steps_must_be_a_positive_integer(inner_steps):
    with pytest.raises((ValueError, TypeError), match="inner_steps"):
        GradientSimilarity(method="unrolled", inner_steps=inner_steps)


@pytest.mark.parametrize("method", ["forward", "double_backward", "finite_difference"])
def test_several_inner_steps_need_the_unrolled_method(method):
    with pytest.raises(ValueError, match="unrolled"):
        GradientSimilarity(method=method, inner_steps=2)


@pytest.mark.parametrize("method", METHODS)
def test_plain_sgd_scales_the_scores(method):
    case = mlp()
    actual = similarity(case, method=method, lookahead=SGD(lr=0.25))
    assert_same(actual, 0.25 * expected_similarity(case), 1e-9)


def test_torchopt_starts_afresh_at_every_step():
    case = mlp()
    weigh = reweighter(case, scorer=GradientSimilarity(lookahead=TORCHOPT["momentum"]()))
    first, second = (weigh.score(case.noisy, case.trusted).scores for _ in range(2))
    assert torch.equal(first["gradient_similarity"], second["gradient_similarity"])


def test_the_wrapper_by_name():
    case = mlp()
    optimizer = TORCHOPT["adam"]()
    bare = similarity(case, lookahead=optimizer)
    assert torch.equal(similarity(case, lookahead=TorchOptLookahead(optimizer)), bare)


# A live optimiser --------------------------------------------------------------------------------

LIVE = {
    "sgd": lambda groups: torch.optim.SGD(groups, lr=0.1),
    "momentum": lambda groups: torch.optim.SGD(groups, lr=0.1, momentum=0.9),
    "dampening": lambda groups: torch.optim.SGD(
        groups, lr=0.1, momentum=0.9, dampening=0.3, weight_decay=0.1
    ),
    "nesterov": lambda groups: torch.optim.SGD(
        groups, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.1
    ),
    "maximize": lambda groups: torch.optim.SGD(groups, lr=0.1, momentum=0.9, maximize=True),
    "adam": lambda groups: torch.optim.Adam(groups, lr=0.01, weight_decay=0.1),
    "adam_betas": lambda groups: torch.optim.Adam(groups, lr=0.01, betas=(0.5, 0.7), eps=1e-3),
    "amsgrad": lambda groups: torch.optim.Adam(groups, lr=0.01, amsgrad=True),
    "adamw": lambda groups: torch.optim.AdamW(groups, lr=0.01, weight_decay=0.3),
}


def two_groups(model):
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    half = len(named) // 2
    return [
        {"params": [p for _, p in named[:half]], "lr": 0.03, "weight_decay": 0.05},
        {"params": [p for _, p in named[half:]]},
    ]


def train(case, optimizer, steps):
    for _ in range(steps):
        optimizer.zero_grad()
        case.sample_losses(case.model, case.noisy).mean().backward()
        optimizer.step()


def live_expected(case, optimizer):
    return oracle.live_meta_gradient(
        case.model, case.sample_losses, case.noisy, case.trusted, optimizer
    )


@pytest.mark.parametrize("method", ["forward", "double_backward"])
@pytest.mark.parametrize("optimizer", LIVE)
@pytest.mark.parametrize("name", ["mlp", "batchnorm_train"])
def test_live_optimizer(name, optimizer, method):
    case = PROBLEMS[name]()
    live = LIVE[optimizer](two_groups(case.model))
    train(case, live, 3)
    expected = live_expected(case, live)
    assert_same(similarity(case, method=method, lookahead=live), expected, 1e-9)


@pytest.mark.parametrize("name", ["tied", "frozen", "unused", "dropout"])
@pytest.mark.parametrize("optimizer", ["nesterov", "adamw"])
def test_live_optimizer_on_other_models(name, optimizer):
    case = PROBLEMS[name]()
    live = LIVE[optimizer](two_groups(case.model))
    train(case, live, 3)
    expected = live_expected(case, live)
    assert_same(similarity(case, lookahead=live), expected, 1e-9)


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "dampening", "nesterov"])
def test_live_optimizer_before_its_first_step(optimizer):
    case = mlp()
    live = LIVE[optimizer](two_groups(case.model))
    assert_same(similarity(case, lookahead=live), live_expected(case, live), 1e-9)


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
def test_adam_before_its_first_step(optimizer):
    """There the update is lr * g / (|g| + eps), whose slope at zero is lr / eps."""
    case = mlp()
    live = LIVE[optimizer](case.model.parameters())
    for group in live.param_groups:
        group["weight_decay"] = 0.0
    expected = expected_similarity(case)
    actual = similarity(case, lookahead=live)
    assert_same(actual / actual.abs().max(), expected / expected.abs().max(), 1e-9)


def test_the_present_learning_rate_counts():
    case = mlp()
    live = LIVE["momentum"](two_groups(case.model))
    train(case, live, 2)
    weigh = reweighter(case, scorer=GradientSimilarity(lookahead=live))
    weigh.score(case.noisy, case.trusted)
    live.param_groups[0]["lr"] = 0.7
    actual = weigh.score(case.noisy, case.trusted).scores["gradient_similarity"]
    assert_same(actual, live_expected(case, live), 1e-9)


def test_parameters_that_the_optimizer_does_not_have_stay():
    case = mlp()
    live = torch.optim.SGD(case.model[2].parameters(), lr=1.0)
    expected = oracle.gradient_similarity(
        case.model, case.sample_losses, case.noisy, case.trusted, list(case.model[2].parameters())
    )
    assert_same(similarity(case, lookahead=live), expected, 1e-9)


@pytest.mark.parametrize("optimizer", LIVE)
def test_the_optimizer_is_left_as_found(optimizer):
    case = mlp()
    live = LIVE[optimizer](two_groups(case.model))
    train(case, live, 2)
    before = copy.deepcopy(live.state_dict())
    weigh = reweighter(case, scorer=GradientSimilarity(lookahead=live))
    weigh.score(case.noisy, case.trusted)
    weigh(case.noisy, case.trusted)
    after = live.state_dict()
    assert after["param_groups"] == before["param_groups"]
    assert after["state"].keys() == before["state"].keys()
    for index, state in before["state"].items():
        assert state.keys() == after["state"][index].keys()
        for key, value in state.items():
            now = after["state"][index][key]
            assert torch.equal(now, value) if torch.is_tensor(value) else now == value


def test_an_optimizer_that_has_not_stepped_gains_no_state():
    case = mlp()
    live = LIVE["momentum"](case.model.parameters())
    similarity(case, lookahead=live)
    assert not live.state


def test_the_live_wrapper_by_name():
    case = mlp()
    live = LIVE["nesterov"](two_groups(case.model))
    train(case, live, 2)
    bare = similarity(case, lookahead=live)
    assert torch.equal(similarity(case, lookahead=LiveOptimizer(live)), bare)


def test_an_optimizer_that_is_not_supported():
    case = mlp()
    with pytest.raises((ValueError, TypeError), match="LBFGS"):
        similarity(case, lookahead=torch.optim.LBFGS(case.model.parameters()))


def test_what_is_no_optimizer():
    with pytest.raises((ValueError, TypeError), match="lookahead"):
        scored(mlp(), GradientSimilarity(lookahead="sgd"))


def test_restriction_and_look_ahead_together():
    """Only the chosen parameters look ahead."""
    case = mlp()
    head = list(case.model[2].parameters())
    frozen = copy.deepcopy(case)
    frozen.model[0].requires_grad_(False)
    expected = unrolled(frozen, TORCHOPT["nesterov"]())
    for method in METHODS:
        actual = similarity(case, method=method, lookahead=TORCHOPT["nesterov"](), parameters=head)
        assert_same(actual, expected, 1e-9)


def test_an_optimizer_of_another_model():
    case = mlp()
    other = torch.optim.Adam(mlp().model.parameters())
    with pytest.raises(ValueError, match="none of the model's parameters"):
        similarity(case, lookahead=other)
