"""A score leaves the model, and PyTorch, as it found them; a step moves what training moves."""

from __future__ import annotations

import itertools
import random
import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from reweight import GradientSimilarity, MetaReweighter
from tests import oracle
from tests.comparing import assert_same
from tests.device import random_state, set_random_state
from tests.helpers import expected_similarity, flat_grad, reweighter, similarity
from tests.problems import PROBLEMS, Case, classified, cross_entropy, dropout, float64, mlp
from tests.snapshot import Snapshot

SCORERS = ("default", "double_backward", "finite_difference", "unrolled")


def options_of(scorer, case):
    if scorer in ("double_backward", "unrolled") and not case.twice:
        pytest.skip("PyTorch has no second derivative of an operator of this model on this device")
    return {} if scorer == "default" else {"scorer": GradientSimilarity(method=scorer)}


def with_gradients(case):
    """Give every other trainable parameter a gradient, and the model a mix of modes and hooks."""
    for index, p in enumerate(oracle.trainable(case.model).values()):
        if index % 2 == 0:
            p.grad = torch.randn_like(p)
    case.model.register_forward_hook(lambda *_: None)
    case.model.register_forward_pre_hook(lambda *_: None)
    if not any(getattr(module, "inplace", False) for module in case.model.modules()):
        case.model.get_submodule(case.last).register_full_backward_pre_hook(lambda *_: None)
    next(iter(oracle.trainable(case.model).values())).register_hook(lambda grad: grad)
    return case


@pytest.mark.parametrize("scorer", SCORERS)
def test_a_score_leaves_everything_as_found(case, scorer):
    with_gradients(case)
    weigh = reweighter(case, **options_of(scorer, case))
    snapshot = Snapshot(case.model)
    weigh.score(case.noisy, case.trusted)
    assert snapshot.changed() == []


def plain_tensors(model):
    """Tensors that modules hold as plain attributes, as weight_norm's hook does."""
    return {
        f"{name}.{key}": value
        for name, module in model.named_modules()
        for key, value in vars(module).items()
        if isinstance(value, torch.Tensor)
    }


@pytest.mark.parametrize("beta", [0.0, 0.5])
@pytest.mark.parametrize("name", PROBLEMS)
def test_a_step_moves_what_a_training_forward_moves(name, beta):
    case, twin = with_gradients(PROBLEMS[name]()), PROBLEMS[name]()
    weigh = reweighter(case, trusted_coefficient=beta)
    snapshot = Snapshot(case.model)
    start = random_state()
    step = weigh(case.noisy, case.trusted)
    after = random_state()
    assert snapshot.changed(but=("buffers", "random", "attributes")) == []

    set_random_state(start)
    twin.sample_losses(twin.model, twin.noisy)
    assert torch.equal(random_state(), after)
    for _ in range(2):  # before and after the backward pass
        for key, buffer in twin.model.named_buffers():
            assert torch.equal(case.model.get_buffer(key), buffer), key
        step.loss.backward(retain_graph=True)
    expected = plain_tensors(twin.model)
    for key, value in plain_tensors(case.model).items():
        assert torch.equal(value, expected[key]), key
    assert snapshot.changed(but=("buffers", "random", "attributes", "gradients")) == []


def test_batchnorm_statistics_move_once_a_step():
    case = PROBLEMS["batchnorm_train"]()
    weigh = reweighter(case)
    for count in (1, 2, 3):
        weigh.score(case.noisy, case.trusted)
        weigh(case.noisy, case.trusted)
        assert case.model[1].num_batches_tracked.item() == count


@pytest.mark.parametrize("name", ["resnet", "transformer_train", "batchnorm_train"])
def test_submodules_may_be_in_different_modes(name):
    case = PROBLEMS[name]()
    modules = list(case.model.modules())
    for module in modules[1::2]:
        module.training = False
    expected = expected_similarity(case)
    modes = [module.training for module in modules]
    assert len(set(modes)) == 2
    assert_same(similarity(case), expected, 1e-9)
    reweighter(case)(case.noisy, case.trusted)
    assert [module.training for module in modules] == modes


def test_batchnorm_frozen_by_its_own_train_method():
    """A layer that overrides train() must not be switched."""

    class AlwaysEval(nn.BatchNorm1d):
        def train(self, mode=True):  # noqa: ARG002
            return super().train(False)

    with float64():
        model = nn.Sequential(nn.Linear(6, 8), AlwaysEval(8), nn.Linear(8, 3))
        case = Case(model, last="2", loss=cross_entropy, **classified(6))
    case.model.train()
    before = case.model[1].running_mean.clone()
    assert_same(similarity(case), expected_similarity(case), 1e-9)
    reweighter(case)(case.noisy, case.trusted)
    assert torch.equal(case.model[1].running_mean, before)


def test_dropout_masks_of_scoring_and_training_agree():
    case = dropout()
    masks = []
    case.model[1].register_forward_hook(
        lambda _module, _args, output: masks.append((output.shape[0], output.detach() == 0))
    )
    reweighter(case).score(case.noisy, case.trusted)
    step = reweighter(case)(case.noisy, case.trusted)
    noisy = [mask for count, mask in masks if count == len(step.weights)]
    assert len(noisy) >= 2
    assert all(torch.equal(mask, noisy[0]) for mask in noisy)
    before = random_state()
    next_step = reweighter(case)(case.noisy, case.trusted)
    assert not torch.equal(random_state(), before)
    assert not torch.equal(next_step.losses, step.losses)


class PythonNoise(nn.Module):
    """Randomness from outside PyTorch: stochastic depth and the like."""

    def __init__(self, draw):
        super().__init__()
        self.draw = draw
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        return self.head(torch.sin(x * self.draw()))


@pytest.mark.parametrize("draw", [random.random, np.random.random_sample], ids=["python", "numpy"])
def test_other_random_streams(draw):
    with float64():
        case = Case(PythonNoise(draw), last="head", loss=cross_entropy, **classified(6))

    def states():
        return random.getstate(), str(np.random.get_state())  # noqa: NPY002

    start = states()
    step = reweighter(case).score(case.noisy, case.trusted)
    assert states() == start
    trained = reweighter(case)(case.noisy, case.trusted)
    after = states()
    assert torch.equal(trained.losses, step.losses)
    random.setstate(start[0])
    assert after != start


class Failing:
    """A loss that fails at its n-th call."""

    def __init__(self, loss, call):
        self.loss = loss
        # A number would be put back after every scoring pass; a generator cannot be.
        self.due = (number == call for number in itertools.count(1))

    def __call__(self, output, target):
        if next(self.due):
            raise ArithmeticError("as arranged")
        return self.loss(output, target)


@pytest.mark.parametrize("scorer", SCORERS)
@pytest.mark.parametrize("name", ["resnet", "dropout", "weight_norm_hook", "lstm"])
def test_a_failure_while_scoring_leaves_everything_as_found(name, scorer):
    failures = 0
    for call in range(1, 7):
        case = with_gradients(PROBLEMS[name]())
        case.loss = Failing(case.loss, call)
        weigh = reweighter(case, **options_of(scorer, case))
        snapshot = Snapshot(case.model)
        try:
            weigh.score(case.noisy, case.trusted)
        except ArithmeticError:
            failures += 1
        assert snapshot.changed() == [], f"failing at call {call}"
    assert failures >= 2


@pytest.mark.parametrize("call", [1, 2, 3])
def test_a_failure_in_a_step_leaves_hooks_and_gradients(call):
    case = with_gradients(PROBLEMS["batchnorm_train"]())
    weigh = MetaReweighter(case.model, Failing(case.loss, call))
    # the trusted pass and the training pass; or these and, between them, one for scores
    weigh._objective.verdicts.can_be_followed = call < 3
    snapshot = Snapshot(case.model)
    with pytest.raises(ArithmeticError, match="as arranged"):
        weigh(case.noisy, case.trusted)
    assert snapshot.changed(but=("buffers", "random")) == []


def test_the_batches_are_left_alone():
    case = mlp()
    case.noisy[0].requires_grad_()
    copies = [tensor.clone() for tensor in (*case.noisy, *case.trusted)]
    reweighter(case).score(case.noisy, case.trusted)
    assert case.noisy[0].grad is None
    for tensor, copy in zip((*case.noisy, *case.trusted), copies, strict=True):
        assert torch.equal(tensor, copy)


def test_a_gradient_for_the_input_is_that_of_the_weighted_loss():
    """An adversarial or a style-transfer loop may want it."""
    case = mlp()
    case.noisy[0].requires_grad_()
    step = reweighter(case)(case.noisy, case.trusted)
    step.loss.backward()
    actual = case.noisy[0].grad
    losses = case.sample_losses(case.model, case.noisy)
    (expected,) = torch.autograd.grad((step.weights * losses).sum(), case.noisy[0])
    assert_same(actual, expected, 1e-12)


def test_existing_gradients_are_added_to():
    case = mlp()
    plain = mlp()
    reweighter(plain)(plain.noisy, plain.trusted).loss.backward()
    for p in case.model.parameters():
        p.grad = torch.ones_like(p)
    reweighter(case)(case.noisy, case.trusted).loss.backward()
    assert_same(flat_grad(case), flat_grad(plain) + 1, 1e-12)


def test_no_warning_reaches_the_user(case):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", category=FutureWarning)
        step = reweighter(case, trusted_coefficient=0.5)(case.noisy, case.trusted)
        step.loss.backward()


class Logging(nn.Module):
    """A model that keeps its last activation, as models for Grad-CAM do."""

    def __init__(self):
        super().__init__()
        self.body = nn.Linear(6, 8)
        self.head = nn.Linear(8, 3)
        self.hidden = None

    def forward(self, x):
        self.hidden = torch.tanh(self.body(x))
        return self.head(self.hidden)


def test_a_model_that_keeps_activations():
    with float64():
        case = Case(Logging(), last="head", loss=cross_entropy, **classified(6))
    step = reweighter(case)(case.noisy, case.trusted)
    kept = case.model.hidden
    assert torch.equal(kept, torch.tanh(case.model.body(case.noisy[0])))
    (gradient,) = torch.autograd.grad(step.loss, kept)
    assert bool(gradient.any())
    reweighter(case).score(case.noisy, case.trusted)
    assert case.model.hidden is kept


def test_a_model_that_replaces_its_buffer():
    """Buffers may be assigned instead of written to."""

    class Count(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(6, 3)
            self.register_buffer("seen", torch.zeros(()))

        def forward(self, x):
            self.seen = self.seen + len(x)
            return F.relu(self.head(x))

    with float64():
        case = Case(Count(), last="head", loss=cross_entropy, **classified(6))
    weigh = reweighter(case)
    snapshot = Snapshot(case.model)
    weigh.score(case.noisy, case.trusted)
    assert snapshot.changed() == []
    weigh(case.noisy, case.trusted)
    assert case.model.seen.item() == 5
