"""A step asks the device for one answer, once what is proved in the first ones is proved."""

from __future__ import annotations

import pytest
import torch
import torchopt
from torch import Tensor, nn

from reweight import (
    GradientSimilarity,
    MendedLabels,
    MetaReweighter,
    SampleWeights,
    TrainingDynamics,
    WeightNet,
)
from reweight._step.choice import LAST
from tests.waiting import waits

SAMPLES, FEATURES, CLASSES = 16, 8, 3
PROOFS = 3
CE = nn.CrossEntropyLoss(reduction="none")
Batch = tuple[Tensor, Tensor]


def batch(seed: int) -> Batch:
    generator = torch.Generator("cpu").manual_seed(seed)
    x = torch.randn(SAMPLES, FEATURES, generator=generator, device="cpu")
    y = torch.randint(0, CLASSES, (SAMPLES,), generator=generator, device="cpu")
    return x.to(torch.get_default_device()), y.to(torch.get_default_device())


def small() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(FEATURES, 16), nn.BatchNorm1d(16), nn.GELU(), nn.Linear(16, CLASSES)
    )


def deep() -> nn.Module:
    """62 parameter tensors."""
    torch.manual_seed(0)
    layers = [nn.Sequential(nn.Linear(FEATURES, FEATURES), nn.ReLU()) for _ in range(30)]
    return nn.Sequential(*layers, nn.Linear(FEATURES, CLASSES))


def default(model):
    return MetaReweighter(model, CE)


def trusted_term(model):
    return MetaReweighter(model, CE, trusted_coefficient=1.0)


def remembering(model):
    return MetaReweighter(
        model, CE, weighting=SampleWeights(SAMPLES), dynamics=TrainingDynamics(SAMPLES)
    )


def weight_net(model):
    return MetaReweighter(model, CE, weighting=WeightNet(features=["loss"]))


def mended(model):
    return MetaReweighter(model, CE, labels=MendedLabels(SAMPLES, CLASSES))


def adam(model):
    optimizer = torch.optim.Adam(model.parameters())
    return MetaReweighter(model, CE, scorer=GradientSimilarity(lookahead=optimizer))


def torchopt_sgd(model):
    lookahead = torchopt.sgd(lr=0.1)
    return MetaReweighter(model, CE, scorer=GradientSimilarity(lookahead=lookahead))


def fast(model):
    return MetaReweighter(model, CE, scorer=GradientSimilarity.fast())


def drop(model):
    return MetaReweighter(model, CE, on_nonfinite="drop")


def per_element(model):
    return MetaReweighter(model, nn.MSELoss(reduction="none"), granularity="element")


WAYS = [
    (small, default),
    (small, trusted_term),
    (small, remembering),
    (small, weight_net),
    (small, mended),
    (deep, adam),
    (deep, torchopt_sgd),
    (deep, fast),
    (small, drop),
    (small, per_element),
]


@pytest.mark.usefixtures("one_way")
@pytest.mark.parametrize(("build", "way"), WAYS, ids=[way.__name__ for _, way in WAYS])
def test_a_step_waits_for_the_device_once(build, way):
    model = build()
    weigh = way(model)
    ids = torch.arange(SAMPLES, device="cpu")
    counts = []
    for number in range(PROOFS + 3):
        noisy, trusted = batch(number), batch(100 + number)
        if way is per_element:
            noisy, trusted = ((x, model(x).detach().sin()) for x, _ in (noisy, trusted))
        with waits() as found:
            step = weigh(noisy, trusted, ids=ids)
        step.loss.backward()
        for p in model.parameters():
            p.grad = None
        counts.append(found)
    for found in counts[PROOFS:]:
        assert len(found) <= 1, found


def test_it_waits_once_when_a_way_was_chosen_by_the_clock():
    model = small()
    reweighter = default(model)
    for number in range(LAST + 4):
        with waits() as found:
            step = reweighter(batch(number), batch(100 + number))
        step.loss.backward()
    assert reweighter.explain()
    assert len(found) <= 1, found
