"""What the unrolled oracle leaves in memory: nothing."""

from __future__ import annotations

import gc

import pytest
import torch
import torchopt
from torch import nn

from reweight import GradientSimilarity, MetaReweighter, NonFiniteError
from tests.problems import PROBLEMS


@pytest.fixture
def no_collector():
    """Only reference counts free what a step has made."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def tensors():
    return sum(issubclass(type(o), torch.Tensor) for o in gc.get_objects())


LOOKAHEADS = {
    "sgd": lambda _: None,
    "momentum": lambda _: torchopt.sgd(0.1, momentum=0.9),
    "live": lambda model: torch.optim.Adam(model.parameters()),
}


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize("lookahead", LOOKAHEADS)
@pytest.mark.parametrize("inner_steps", [1, 3])
@pytest.mark.parametrize("name", ["mlp", "batchnorm_train"])
def test_steps_leave_no_tensor_behind(name, inner_steps, lookahead):
    case = PROBLEMS[name]()
    scorer = GradientSimilarity(
        "unrolled", inner_steps=inner_steps, lookahead=LOOKAHEADS[lookahead](case.model)
    )
    weigh = MetaReweighter(case.model, case.loss, scorer=scorer)
    counts = []
    for _ in range(6):
        case.model.zero_grad()
        step = weigh(case.noisy, case.trusted)
        step.loss.backward()
        del step
        counts.append(tensors())
    assert counts[3] == counts[4] == counts[5]


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize("batch", ["noisy", "trusted"])
def test_steps_that_fail_leave_no_tensor_behind(batch):
    case = PROBLEMS["mlp"]()
    weigh = MetaReweighter(case.model, case.loss, scorer=GradientSimilarity("unrolled"))
    given = {"noisy": case.noisy, "trusted": case.trusted}
    inputs, target = given[batch]
    given[batch] = (torch.full_like(inputs, float("nan")), target)
    counts = []
    for _ in range(6):
        with pytest.raises(NonFiniteError):
            weigh.score(**given)
        counts.append(tensors())
    assert counts[3] == counts[4] == counts[5]


@pytest.mark.usefixtures("no_collector")
def test_garbage_would_be_found():
    """So that the tests above could fail: a cycle around a tensor is one more."""
    before = tensors()
    for _ in range(2):
        cycle = [nn.Parameter(torch.zeros(1))]
        cycle.append(cycle)
        del cycle
    assert tensors() == before + 2
