"""Steps that train and score in one pass, against steps that only score, and the slow loop."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from reweight import GradientSimilarity, LastLayerGradient
from tests import oracle
from tests.comparing import assert_same
from tests.derivative.beside_training.observing import identical
from tests.helpers import expected_similarity, flat_grad, gradients, reweighter
from tests.problems import Case, classified, cross_entropy, float64


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_scores_of_the_training_pass(case):
    expected = expected_similarity(case)
    weigh = reweighter(case, scorer=GradientSimilarity())
    scored = weigh.score(case.noisy, case.trusted)
    step = weigh(case.noisy, case.trusted)
    assert weigh._objective.verdicts.can_be_followed or not case.forward_mode
    assert_same(step.scores["gradient_similarity"], expected, 1e-9)
    assert_same(scored.scores["gradient_similarity"], expected, 1e-9)
    assert_same(step.weights, scored.weights, 1e-9)


def test_gradients_are_those_of_the_weighted_losses(case):
    if not case.forward_mode:
        pytest.skip("scores come from a pass of their own")
    rows = oracle.per_sample_gradients(case.model, case.sample_losses, case.noisy)
    weigh = reweighter(case, scorer=GradientSimilarity() + LastLayerGradient())
    step = weigh(case.noisy, case.trusted)
    step.loss.backward()
    assert_same(flat_grad(case), step.weights @ rows, 1e-9)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_the_training_pass_is_as_without_scores(case):
    """Bit for bit: losses, gradients, buffers, and the random numbers that come after."""
    state = {name: x.clone() for name, x in case.model.state_dict().items()}
    seen: list[tuple[Tensor, dict[str, Tensor | None], dict[str, Tensor], Tensor]] = []
    for plain in (True, False):
        case.model.load_state_dict(state)
        case.model.zero_grad()
        torch.manual_seed(3)
        if plain:
            losses = case.sample_losses(case.model, case.noisy)
        else:
            weigh = reweighter(case, scorer=GradientSimilarity())
            losses = _losses_of(weigh, case)
        losses.sum().backward()
        buffers = {name: x.clone() for name, x in case.model.named_buffers()}
        seen.append((losses.detach(), gradients(case), buffers, torch.rand(3)))
    alone, observed = seen
    assert identical(alone[0], observed[0])
    assert identical(alone[3], observed[3])
    for one, other in zip(alone[1:3], observed[1:3], strict=True):
        for name, value in one.items():
            assert (value is None) == (other[name] is None)
            assert value is None or identical(value, other[name]), name


def _losses_of(weigh, case: Case) -> Tensor:
    """The losses with their graph, from a step whose pass is observed."""
    kept: list[Tensor] = []
    inner = weigh._objective.training_losses

    def losses(batch: object) -> object:
        found = inner(batch)
        kept.append(found.values)
        return found

    weigh._objective.training_losses = losses
    weigh(case.noisy, case.trusted)
    return kept[-1]


class Foreign(torch.autograd.Function):
    @staticmethod
    def forward(_ctx, x):
        return x.exp()

    @staticmethod
    def backward(_ctx, grad):
        return grad

    @staticmethod
    def jvp(_ctx, tangent):
        return tangent


class Wrapped(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return Foreign.apply(x)


def test_what_cannot_be_followed_is_scored_in_a_pass_of_its_own():
    with float64():
        model = nn.Sequential(nn.Linear(6, 8), Wrapped(), nn.Linear(8, 3))
        case = Case(model, last="2", loss=cross_entropy, **classified(6))
    weigh = reweighter(case, scorer=GradientSimilarity())
    for _ in range(2):
        step = weigh(case.noisy, case.trusted)
        assert_same(step.scores["gradient_similarity"], expected_similarity(case), 1e-9)
        assert not weigh._objective.verdicts.can_be_followed


class Hessian(nn.Module):
    """Takes a derivative in its forward pass, and counts its calls."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 3)
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return torch.func.vmap(torch.func.grad(lambda z: self.layer(z).square().sum()))(x)[:, :3]


def test_a_pass_that_bars_hooks_is_made_once():
    with float64():
        case = Case(Hessian(), last="layer", loss=cross_entropy, **classified(6))
    model = case.model
    weigh = reweighter(case, scorer=GradientSimilarity(method="double_backward"))
    weigh(case.noisy, case.trusted)
    usual = model.calls
    model.calls = 0
    weigh = reweighter(case, scorer=GradientSimilarity())
    step = weigh(case.noisy, case.trusted)
    assert model.calls == usual
    assert_same(step.scores["gradient_similarity"], expected_similarity(case), 1e-9)
