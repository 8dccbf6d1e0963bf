"""The library proves itself on the user's own model, and says where scores are not right."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from reweight import (
    GradientSimilarity,
    LastLayerGradient,
    LossMagnitude,
    MetaReweighter,
    RandomWeights,
    Scorer,
)
from reweight.lookahead import SGD
from tests.device import autocast
from tests.helpers import reweighter
from tests.problems import PROBLEMS, float64, mlp
from tests.snapshot import Snapshot

LOSS = nn.CrossEntropyLoss(reduction="none")


def data(count: int) -> tuple[Tensor, Tensor]:
    return torch.randn(count, 6), torch.randint(3, (count,))


@pytest.mark.parametrize("name", PROBLEMS)
def test_every_problem_is_right_and_left_as_found(name):
    case = PROBLEMS[name]()
    weigh = reweighter(case)
    before, state = Snapshot(case.model), copy.deepcopy(weigh.state_dict())
    report = weigh.check(case.noisy, case.trusted)
    assert report.ok, str(report)
    assert before.changed() == []
    assert weigh.state_dict() == state
    assert {row.call for row in report.scorers} == {"step", "score"}
    assert all(row.error is not None or row.note for row in report.scorers), str(report)


class Off(Scorer):
    """A scorer that is wrong by ten percent for one sample."""

    def __call__(self, context: Any) -> Tensor:
        scores = context.directional_derivative(context.trusted_gradient())
        scores[0] *= 1.1
        return scores

    def reference(self, _context: Any, plain: Any) -> tuple[Tensor, str]:
        return plain.similarity(plain.trusted), ""


def test_a_wrong_score_is_told():
    case = mlp()
    report = MetaReweighter(case.model, case.loss, scorer=Off()).check(case.noisy, case.trusted)
    assert not report.ok
    assert "NOT right" in str(report)
    assert "DIFFERS" in str(report)
    assert all(not row.agrees for row in report.scorers)


def test_a_scorer_that_does_not_go_is_told_and_the_others_are_compared():
    case = mlp()
    scorer = GradientSimilarity() + LastLayerGradient(layer=case.model[0])
    weigh = MetaReweighter(case.model, case.loss, scorer=scorer + (lambda _context: None))
    report = weigh.check(case.noisy, case.trusted)
    assert [row.agrees for row in report.scorers] == [True] * 4 + [True] * 2
    weigh = MetaReweighter(case.model, case.loss, scorer=GradientSimilarity() + LossMagnitude())
    report = weigh.check(case.noisy)  # no trusted batch
    assert not report.ok
    assert [bool(row.refused) for row in report.scorers] == [True, True, False, False]
    assert "trusted batch" in str(report)


def test_it_says_which_path_ran_how_many_passes_and_why():
    case = mlp()
    report = MetaReweighter(case.model, case.loss).check(case.noisy, case.trusted)
    step, score = report.scorers[:2]
    assert step.way == "followed beside the training pass"
    assert step.passes == 1  # the trusted one
    assert score.way == "forward mode, in a pass of its own"
    margins = nn.MultiMarginLoss(reduction="none")
    report = MetaReweighter(case.model, margins, scorer=GradientSimilarity()).check(
        case.noisy, case.trusted
    )
    assert report.ok
    assert report.scorers[0].way == "one backward pass a sample"
    assert "multi_margin_loss" in report.scorers[0].reason


def test_it_says_what_is_odd_about_a_model():
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Linear(6, 6), nn.Linear(6, 3)
            self.again = nn.ModuleList([self.first])
            self.frozen = nn.Linear(6, 6).requires_grad_(False)
            self.calls = 0

        def forward(self, x: Tensor) -> Tensor:
            self.calls += 1
            with torch.no_grad():
                self.frozen.weight.mul_(0.9)
            return self.last(self.again[0](x).tanh() + self.frozen(x))

    class Centred(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.centre = nn.Parameter(torch.zeros(3))

        def forward(self, output: Tensor, target: Tensor) -> Tensor:
            return LOSS(output - self.centre, target)

    with float64():
        model, loss = Odd(), Centred()
        noisy, trusted = data(5), data(4)
    model.last.weight.register_hook(lambda g: 0.5 * g)
    report = MetaReweighter(model, loss).check(noisy, trusted)
    assert report.ok, str(report)
    text = str(report)
    for said in (
        "5 of 7 parameters are trained",
        "first = again.0",
        "brings modules along: loss",
        "Gradient hooks on last.weight",
        "Gradient hooks change gradients",
        "writes into frozen.weight",
        "1 attributes, lists or dicts",
    ):
        assert said in text, text


@pytest.mark.parametrize(
    "scorer",
    [
        GradientSimilarity(lookahead=SGD(0.3)),
        GradientSimilarity("finite_difference"),
        GradientSimilarity(renew_every=3, averaging=0.5),
        GradientSimilarity(parameters="2.*"),
        GradientSimilarity("unrolled"),
        RandomWeights(),
        0.3 * LossMagnitude() + 0.7 * GradientSimilarity("per_sample"),
    ],
    ids=["look-ahead", "finite difference", "renewed", "a layer", "unrolled", "random", "a sum"],
)
def test_every_setting_and_what_it_keeps(scorer):
    case = mlp()
    weigh = MetaReweighter(case.model, case.loss, scorer=scorer)
    weigh(case.noisy, case.trusted)
    state = copy.deepcopy(weigh.state_dict())
    report = weigh.check(case.noisy, case.trusted)
    assert report.ok, str(report)
    now = weigh.state_dict()
    assert str(now) == str(state)


def test_elements_half_precision_and_autocast():
    net = nn.Conv2d(1, 2, 3, padding=1).bfloat16()
    noisy, trusted = (
        (torch.randn(n, 1, 6, 6).bfloat16(), torch.randint(2, (n, 6, 6))) for n in (3, 2)
    )
    weigh = MetaReweighter(net, LOSS, granularity="element", scorer=GradientSimilarity())
    assert weigh.check(noisy, trusted).ok
    case = mlp()
    model = case.model.float()
    batches = [(x.float(), y) for x, y in (case.noisy, case.trusted)]
    with autocast():
        report = MetaReweighter(model, LOSS).check(*batches)
    assert report.ok, str(report)
    assert report.scorers[0].error < 1e-5


def test_inference_mode_is_refused():
    case = mlp()
    with (
        torch.inference_mode(),
        pytest.raises(RuntimeError, match=r"outside torch\.inference_mode"),
    ):
        MetaReweighter(case.model, case.loss).check(case.noisy, case.trusted)
