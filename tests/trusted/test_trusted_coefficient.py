"""The gradient of the step is the weighted sum plus beta times the trusted gradient, at theta."""

from __future__ import annotations

import pytest
import torch
import torchopt
from torch import nn

from reweight import GradientSimilarity, LossMagnitude, Uniform
from tests import oracle
from tests.comparing import assert_same
from tests.helpers import flat_grad, gradients, reweighter, scored
from tests.problems import (
    NOISY,
    PROBLEMS,
    TRUSTED,
    Case,
    batches,
    cross_entropy,
    float64,
    mlp,
)

BETA = 0.7


def parts(case):
    rows = oracle.per_sample_gradients(case.model, case.sample_losses, case.noisy)
    return rows, oracle.mean_gradient(case.model, case.sample_losses, case.trusted)


def trusted_loss(case):
    with oracle.undisturbed(case.model):
        return case.sample_losses(case.model, case.trusted).mean().detach()


def test_gradient_and_value(case):
    rows, trusted = parts(case)
    mean = trusted_loss(case)
    step = reweighter(case, trusted_coefficient=BETA)(case.noisy, case.trusted)
    assert_same(step.trusted_loss, mean, 1e-12)
    assert_same(step.loss, (step.weights * step.losses).sum() + BETA * mean, 1e-12)
    step.loss.backward()
    assert_same(flat_grad(case), step.weights @ rows + BETA * trusted, 1e-9)


@pytest.mark.parametrize(
    "scorer",
    [
        Uniform(),
        LossMagnitude(),
        GradientSimilarity(parameters="2.*"),
        GradientSimilarity(method="double_backward"),
        GradientSimilarity(method="finite_difference"),
        GradientSimilarity(method="unrolled"),
        GradientSimilarity(lookahead=torchopt.adamw(0.5, eps_root=1e-4, weight_decay=0.9)),
        GradientSimilarity(method="unrolled", lookahead=torchopt.sgd(0.5), inner_steps=2),
    ],
    ids=[
        "uniform",
        "loss_magnitude",
        "restricted",
        "double_backward",
        "finite_difference",
        "unrolled",
        "adamw",
        "two_inner_steps",
    ],
)
def test_whatever_the_scorer(scorer):
    """The trusted term covers every trainable parameter and is taken at theta itself."""
    case = mlp()
    rows, trusted = parts(case)
    step = reweighter(case, scorer=scorer, trusted_coefficient=BETA)(case.noisy, case.trusted)
    step.loss.backward()
    assert_same(flat_grad(case), step.weights @ rows + BETA * trusted, 1e-9)
    assert_same(step.trusted_loss, trusted_loss(case), 1e-12)


def test_live_optimizer_with_weight_decay():
    case = mlp()
    live = torch.optim.AdamW(case.model.parameters(), lr=0.3, weight_decay=0.9)
    case.sample_losses(case.model, case.noisy).mean().backward()
    live.step()
    live.zero_grad()
    rows, trusted = parts(case)
    scorer = GradientSimilarity(lookahead=live)
    step = reweighter(case, scorer=scorer, trusted_coefficient=BETA)(case.noisy, case.trusted)
    step.loss.backward()
    assert_same(flat_grad(case), step.weights @ rows + BETA * trusted, 1e-9)


@pytest.mark.parametrize("name", ["mlp", "batchnorm_train", "frozen", "unused"])
def test_accumulation(name):
    case = PROBLEMS[name]()
    rows, trusted = parts(case)
    weigh = reweighter(case, trusted_coefficient=BETA)
    first = weigh(case.noisy, case.trusted)
    (first.loss / 2).backward()
    half = first.weights @ rows + BETA * trusted
    assert_same(flat_grad(case), half / 2, 1e-9)
    second = weigh(case.noisy, case.trusted)
    (second.loss / 2).backward()
    assert_same(flat_grad(case), half, 1e-9)


def test_frozen_parameters_get_no_gradient():
    case = PROBLEMS["frozen"]()
    reweighter(case, trusted_coefficient=BETA)(case.noisy, case.trusted).loss.backward()
    found = gradients(case)
    assert {name for name, grad in found.items() if grad is None} == {
        "stem.weight",
        "stem.bias",
        "body.bias",
    }


def test_unused_parameters_get_no_gradient_other_than_zero():
    case = PROBLEMS["unused"]()
    reweighter(case, trusted_coefficient=BETA)(case.noisy, case.trusted).loss.backward()
    found = gradients(case)
    for name in ("spare.weight", "spare.bias", "left_over"):
        assert found[name] is None or not found[name].any()


def test_an_empty_step_still_has_the_trusted_term():
    case = mlp()
    _, trusted = parts(case)
    weigh = reweighter(
        case, scorer=lambda context: -torch.ones_like(context.losses), trusted_coefficient=BETA
    )
    step = weigh(case.noisy, case.trusted)
    assert step.empty
    assert step.kept == 0
    assert_same(step.loss, BETA * trusted_loss(case), 1e-12)
    step.loss.backward()
    assert_same(flat_grad(case), BETA * trusted, 1e-12)


def test_autograd_grad_works_too():
    case = mlp()
    rows, trusted = parts(case)
    step = reweighter(case, trusted_coefficient=BETA)(case.noisy, case.trusted)
    found = torch.autograd.grad(step.loss, list(case.model.parameters()))
    assert_same(oracle.flat(found), step.weights @ rows + BETA * trusted, 1e-9)
    assert not flat_grad(case).any()


def test_a_graph_that_is_kept_can_be_used_twice():
    case = mlp()
    rows, trusted = parts(case)
    step = reweighter(case, trusted_coefficient=BETA)(case.noisy, case.trusted)
    step.loss.backward(retain_graph=True)
    step.loss.backward()
    assert_same(flat_grad(case), 2 * (step.weights @ rows + BETA * trusted), 1e-9)


def test_the_loss_can_be_added_to_another():
    case = mlp()
    rows, trusted = parts(case)
    step = reweighter(case, trusted_coefficient=BETA)(case.noisy, case.trusted)
    decay = sum(p.square().sum() for p in case.model.parameters())
    (step.loss + 0.1 * decay).backward()
    theta = oracle.flat(list(case.model.parameters())).detach()
    assert_same(flat_grad(case), step.weights @ rows + BETA * trusted + 0.2 * theta, 1e-9)


def test_per_element():
    case = PROBLEMS["voxel_map"]()
    rows = oracle.per_sample_gradients(case.model, case.losses, case.noisy)
    trusted = oracle.mean_gradient(case.model, case.losses, case.trusted)
    weigh = reweighter(case, trusted_coefficient=BETA, granularity="element")
    step = weigh(case.noisy, case.trusted)
    step.loss.backward()
    assert_same(flat_grad(case), step.weights.reshape(-1) @ rows + BETA * trusted, 1e-9)


class TwoHeads(nn.Module):
    """The trusted batch goes through another head than the noisy one."""

    def __init__(self):
        super().__init__()
        self.body = nn.Linear(6, 8)
        self.heads = nn.ModuleList([nn.Linear(8, 3), nn.Linear(8, 3)])

    def forward(self, x, which):
        return self.heads[which](torch.tanh(self.body(x)))


def through_two_heads(model, batch):
    inputs, target, which = batch
    return cross_entropy(model(inputs, which), target)


def test_parameters_that_only_the_trusted_batch_uses():
    with float64():
        data = batches(lambda n: (torch.randn(n, 6), torch.randint(3, (n,)), int(n == TRUSTED)))
        case = Case(TwoHeads(), last="heads.0", forward=through_two_heads, **data)
    rows, trusted = parts(case)
    step = reweighter(case, trusted_coefficient=BETA)(case.noisy, case.trusted)
    assert_same(step.scores["gradient_similarity"], rows @ trusted, 1e-9)
    step.loss.backward()
    assert bool(case.model.heads[1].weight.grad.any())
    assert_same(flat_grad(case), step.weights @ rows + BETA * trusted, 1e-9)


@pytest.mark.parametrize("beta", [0.0, BETA])
@pytest.mark.parametrize("parameters", [None, "2.*"])
def test_each_batch_is_passed_once(parameters, beta):
    """The term costs no pass of its own, and scores are taken beside the training pass."""
    case = mlp()
    sizes = []
    case.model.register_forward_hook(lambda _module, _args, output: sizes.append(len(output)))
    scorer = GradientSimilarity(parameters=parameters) + LossMagnitude()
    weigh = reweighter(case, scorer=scorer, trusted_coefficient=beta, self_check=False)
    weigh(case.noisy, case.trusted)
    assert sizes.count(TRUSTED) == 1
    assert sizes.count(NOISY) == 1


def test_zero_is_off():
    case = mlp()
    step = scored(case, Uniform(), trusted_coefficient=0.0)
    assert step.trusted_loss is None
