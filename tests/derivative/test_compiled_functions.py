"""Functions compiled by themselves, which no look at the model's modules would show."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from reweight import MetaReweighter
from tests.comparing import assert_same


def cross_entropy(output, target):
    return F.cross_entropy(output, target, reduction="none")


class CompiledMethod(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(6, 3)
        self.function = torch.compile(self.scaled, backend="aot_eager")

    def scaled(self, x):
        return self.linear(x) * 2

    def forward(self, x):
        return self.function(x)


class Plain(CompiledMethod):
    def forward(self, x):
        return self.scaled(x)


@pytest.fixture
def batches():
    torch.manual_seed(5)
    return [(torch.randn(5, 6).double(), torch.randint(3, (5,))) for _ in range(2)]


@pytest.mark.parametrize("where", ["loss", "method"])
def test_scores_and_weights_are_those_of_the_plain_function(where, batches):
    torch.manual_seed(0)
    plain = Plain().double()
    if where == "loss":
        model, loss = plain, torch.compile(cross_entropy, backend="aot_eager")
    else:
        model, loss = CompiledMethod().double(), cross_entropy
        model.load_state_dict(plain.state_dict())
    expected = MetaReweighter(plain, cross_entropy)(*batches)
    step = MetaReweighter(model, loss)(*batches)
    step.loss.backward()
    assert expected.scores["gradient_similarity"].abs().max() > 0
    for name, scores in expected.scores.items():
        assert_same(step.scores[name], scores, 1e-9)
    assert_same(step.weights, expected.weights, 1e-9)


def two_operators(output, target):
    return cross_entropy(output, target).exp().sin()


@pytest.mark.parametrize("function", [two_operators, lambda o, t: cross_entropy(o, t) * 1.5])
def test_a_compiled_loss_that_can_run_backward_but_once(function, batches):
    """It gives its buffers away: scores come from a pass in which it is not compiled."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))
    (x, y), (a, b) = batches
    noisy, trusted = (x.float(), y), (a.float(), b)
    expected = MetaReweighter(model, function)(noisy, trusted)
    weigh = MetaReweighter(model, torch.compile(function, backend="aot_eager"))
    for _ in range(3):
        step = weigh(noisy, trusted)
        step.loss.backward()
        for name, scores in expected.scores.items():
            assert_same(step.scores[name], scores, 1e-4)
