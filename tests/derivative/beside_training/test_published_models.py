"""Models as they are published: no operator of their training pass is run a second time."""

from __future__ import annotations

import pytest
import torch

from reweight import GradientSimilarity
from reweight._derivative.beside_training import TangentMode
from tests.comparing import assert_same
from tests.compatibility.frameworks import need
from tests.derivative.beside_training.published_models import PUBLISHED
from tests.derivative.beside_training.ruling import reruns
from tests.helpers import expected_similarity, reweighter
from tests.problems import Case, float64


@pytest.mark.parametrize("name", PUBLISHED)
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_nothing_is_run_a_second_time(name):
    needs, make = PUBLISHED[name]
    need(needs)
    torch.manual_seed(0)
    made = make()
    model = made.model.train()
    direction = [(p, torch.randn_like(p)) for p in model.parameters() if p.requires_grad]
    with reruns() as found, TangentMode(direction) as mode:
        losses = made.losses(model, made.batch(3))
    assert mode.tangent_of(losses).abs().max() > 0
    assert not found


@pytest.mark.parametrize("name", PUBLISHED)
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_scores_are_those_of_one_backward_pass_a_sample(name):
    needs, make = PUBLISHED[name]
    need(needs)
    with float64():
        made = make()
        noisy, trusted = made.batch(4), made.batch(3)
        case = Case(made.model.double().train(), noisy, trusted, last="", forward=made.losses)
        expected = expected_similarity(case)
        weigh = reweighter(case, scorer=GradientSimilarity())
        step = weigh(case.noisy, case.trusted)
    assert weigh._objective.verdicts.can_be_followed
    # Some of these models round to single precision on the way.
    assert_same(
        step.scores["gradient_similarity"],
        expected,
        1e-5 if "Llama" in name or "T5" in name else 1e-8,
    )
