"""The oracle is held against itself: three independent ways to the same numbers."""

from __future__ import annotations

import pytest
import torch
import torchopt

from tests import oracle
from tests.comparing import assert_same
from tests.problems import PROBLEMS, mlp


@pytest.mark.parametrize("name", PROBLEMS)
def test_problems_are_made_afresh_and_equal(name):
    one, two = PROBLEMS[name](), PROBLEMS[name]()
    assert one.model is not two.model
    with oracle.undisturbed(one.model):
        first = one.sample_losses(one.model, one.noisy)
    with oracle.undisturbed(two.model):
        second = two.sample_losses(two.model, two.noisy)
    assert first.dtype == torch.float64
    assert torch.equal(first, second)


@pytest.mark.parametrize("name", [name for name in PROBLEMS if PROBLEMS[name]().functional])
def test_algorithm_1_is_a_dot_product_of_gradients(name):
    case = PROBLEMS[name]()
    arguments = case.model, case.sample_losses, case.noisy, case.trusted
    expected = oracle.gradient_similarity(*arguments)
    assert expected.abs().max() > 0
    assert_same(oracle.meta_gradient(*arguments), expected, 1e-9)


def test_gradient_similarity_is_a_difference_quotient():
    case = mlp()
    score = oracle.gradient_similarity(case.model, case.sample_losses, case.noisy, case.trusted)
    v = oracle.mean_gradient(case.model, case.sample_losses, case.trusted)
    parameters = list(case.model.parameters())
    theta = oracle.flat(parameters).detach()
    sides = []
    for step in (1e-6, -1e-6):
        torch.nn.utils.vector_to_parameters(theta + step * v, parameters)
        sides.append(case.sample_losses(case.model, case.noisy).detach())
    assert_same((sides[0] - sides[1]) / 2e-6, score, 1e-6)


@pytest.mark.parametrize(
    ("functional", "live"),
    [
        (torchopt.sgd(0.1), lambda p: torch.optim.SGD(p, 0.1)),
        (
            torchopt.sgd(0.1, momentum=0.9, nesterov=True, weight_decay=0.1),
            lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, nesterov=True, weight_decay=0.1),
        ),
    ],
    ids=["sgd", "nesterov"],
)
def test_both_look_aheads_agree(functional, live):
    case = mlp()
    arguments = case.model, case.sample_losses, case.noisy, case.trusted
    expected = oracle.live_meta_gradient(*arguments, live(case.model.parameters()))
    assert_same(oracle.meta_gradient(*arguments, functional), expected, 1e-9)
