"""What a default step does on every model, in numbers that no clock and no machine changes.

It is held to one way to differentiate: which one ``auto`` takes may be a matter of time.

Each is what it is today, and at most that: who makes a step do less writes the new number here.
Models are at their smallest size, where what is counted is what it is at any other.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch

from benchmarks.gpu.cells import SMALLEST
from benchmarks.meta_step.methods import _ours, _plain
from benchmarks.meta_step.models import MODELS, Setup
from reweight import GradientSimilarity, LastLayerGradient
from reweight.errors import check_finite
from tests.benchmarks.meta_step.counting import Counts, counts_of
from tests.counting import operators_of


@dataclass(frozen=True)
class Gate:
    """The most that a default step may do.

    Attributes:
        operators: In units of plain training's.
        reruns: Operators run once more, in forward mode.
        asks: Values that the library asks of tensors.
        forward: Calls of the model.
        backward: Calls of autograd, short ones among them.
    """

    operators: float
    reruns: int
    asks: int
    forward: int
    backward: int


GATES = {
    "unet": Gate(3.23, 0, 1, 2, 3),
    "resnet18": Gate(3.18, 0, 1, 2, 3),
    "transformer": Gate(2.90, 0, 1, 2, 3),
    "mlp": Gate(4.16, 0, 1, 2, 3),
    "unet-groupnorm": Gate(2.84, 0, 1, 2, 3),
    "gpt2": Gate(3.18, 0, 1, 2, 3),
    "gpt2-large-vocabulary": Gate(3.24, 0, 1, 2, 3),
    "bert": Gate(2.81, 0, 1, 2, 3),
    "vit": Gate(2.87, 0, 1, 2, 3),
    "convnext": Gate(2.38, 0, 1, 2, 3),
    "llama-lora": Gate(3.09, 0, 1, 2, 3),
    "llama-tiny": Gate(2.83, 0, 1, 2, 3),
    "mlp-small": Gate(2.43, 0, 1, 2, 3),
}
ROUNDING = 0.005
FOLLOWED = _ours(scorer=GradientSimilarity("forward") / LastLayerGradient())


def setup_of(model: str) -> Setup:
    batch = 2 if model.startswith("unet") else 4
    return Setup(model, SMALLEST[model], batch, batch)


def test_every_model_has_a_gate():
    assert set(GATES) == set(MODELS)


@pytest.mark.parametrize("model", GATES)
def test_a_default_step_does_no_more_than_it_did(model):
    plain = counts_of(_plain, setup_of(model))
    assert (plain.reruns, plain.asks, plain.forward, plain.backward) == (0, 0, 1, 1)
    default = counts_of(FOLLOWED, setup_of(model))
    gate = GATES[model]
    assert default.operators / plain.operators <= gate.operators + ROUNDING
    assert default.reruns <= gate.reruns
    assert default.asks <= gate.asks
    assert default.forward <= gate.forward
    assert default.backward <= gate.backward


def test_what_is_counted_is_the_same_each_time():
    setup = setup_of("transformer")
    assert counts_of(FOLLOWED, setup) == counts_of(FOLLOWED, setup, warmup=5)


def test_operators_are_counted_once_whatever_they_call():
    weight = torch.zeros(3, 3, requires_grad=True)

    def step():
        torch.nn.functional.linear(torch.ones(2, 3), weight).exp()

    assert operators_of(step) == 3  # ones, linear, exp


def test_the_counts_see_what_they_are_for():
    """A step that does more of each has more of each, and nothing stays counted."""

    def wasteful(problem):
        plain = _plain(problem)

        def step():
            plain()
            losses = problem.losses(problem.model, problem.noisy)
            torch.autograd.grad(losses.sum(), problem.trainable)
            check_finite(losses, "loss", "noisy")

        return step

    ask, setup = torch.Tensor.__float__, setup_of("mlp")
    plain, found = counts_of(_plain, setup), counts_of(wasteful, setup)
    assert (found.forward, found.backward, found.asks) == (2, 2, 1)
    assert found.operators > 1.3 * plain.operators
    assert torch.Tensor.__float__ is ask
    assert isinstance(found, Counts)
