"""What a step runs, by count: numbers that do not depend on the clock."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from reweight import GradientSimilarity, LastLayerGradient, MetaReweighter
from tests.counting import operators_of
from tests.derivative.beside_training.ruling import reruns
from tests.device import accelerators

CE = nn.CrossEntropyLoss(reduction="none")
PROOFS = 3


def perceptron() -> nn.Module:
    """20 layers of 16 units."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for _ in range(20):
        layers += [nn.Linear(16, 16), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(16, 3))


def convolutions() -> nn.Module:
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for channels in (3, 8, 8, 8):
        layers += [nn.Conv2d(channels, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3))


def batch(shape: tuple[int, ...], seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator("cpu").manual_seed(seed)
    x = torch.randn(8, *shape, generator=generator, device="cpu")
    y = torch.randint(0, 3, (8,), generator=generator, device="cpu")
    return x.to(torch.get_default_device()), y.to(torch.get_default_device())


MODELS = {"perceptron": (perceptron, (16,)), "convolutions": (convolutions, (3, 8, 8))}
# Operators over those of a plain step, at most.
MOST = {
    ("perceptron", "default"): 3.35,
    ("perceptron", "similarity"): 3.05,
    ("perceptron", "last layer"): 1.6,
    ("convolutions", "default"): 6.75,
    ("convolutions", "similarity"): 5.45,
    ("convolutions", "last layer"): 3.4,
}
SCORERS = {
    "default": lambda: None,
    "similarity": GradientSimilarity,
    "last layer": LastLayerGradient,
}
PASSES = {"default": 1, "similarity": 1, "last layer": 0}


@pytest.mark.usefixtures("one_way")
@pytest.mark.parametrize(("name", "scorer"), MOST)
def test_a_step_runs_so_many_operators(name, scorer):
    build, shape = MODELS[name]
    model = build()
    weigh = MetaReweighter(model, CE, scorer=SCORERS[scorer]())
    noisy, trusted = batch(shape, 0), batch(shape, 1)
    for _ in range(PROOFS):
        weigh(noisy, trusted).loss.backward()
    plain = operators_of(lambda: CE(model(noisy[0]), noisy[1]).mean().backward())
    passes = weigh._objective.passes
    with reruns() as again:
        run = operators_of(lambda: weigh(noisy, trusted).loss.backward())
    assert weigh._objective.passes - passes <= PASSES[scorer]
    assert not again, "operators that have no rule"
    if not accelerators():  # the bounds are of the operators that the CPU's kernels are made of
        assert run <= MOST[name, scorer] * plain, (run / plain, run, plain)
