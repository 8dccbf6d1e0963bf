"""Autocast that a framework enters inside the model is off in scoring passes."""

from __future__ import annotations

import functools
import threading
from types import MethodType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from reweight import GradientSimilarity, LastLayerGradient, MetaReweighter
from tests.comparing import assert_same
from tests.device import accelerators, autocast, near

LOSS = nn.CrossEntropyLoss(reduction="none")


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(6, 16), nn.BatchNorm1d(16), nn.Dropout(0.3), nn.GELU(), nn.Linear(16, 3)
    )


def data(count: int) -> tuple[Tensor, Tensor]:
    return torch.randn(count, 6), torch.randint(3, (count,))


def as_accelerate_does(model: nn.Module) -> nn.Module:
    """Its ``forward`` under autocast, the outputs brought back to float32."""
    inner = model.forward
    under_autocast = autocast()(inner.__func__)

    @functools.wraps(inner)
    def forward(_self: nn.Module, *args: Any) -> Tensor:
        return under_autocast(model, *args).float()

    model._original_forward = inner
    model.forward = MethodType(forward, model)
    return model


class Context(nn.Module):
    """A model that enters autocast for a part of itself."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        with torch.amp.autocast(torch.get_default_device().type, dtype=torch.bfloat16):
            h = self.model[:-1](x)
        return self.model[-1](h.float())


WRAPPERS = {"accelerate": as_accelerate_does, "context": Context}


@pytest.mark.compatibility(
    "precision",
    "autocast entered inside the model",
    "exact",
    "scores are taken in full precision, training runs under autocast",
)
@pytest.mark.parametrize("scorer", [GradientSimilarity(), LastLayerGradient(), None])
@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_scores_are_those_of_full_precision(wrapper, scorer):
    noisy, trusted = data(8), data(6)
    plain = MetaReweighter(network(), LOSS, scorer=scorer)
    model = WRAPPERS[wrapper](network())
    wrapped = MetaReweighter(model, LOSS, scorer=scorer)
    for seed in range(4):
        for call in ("score", "__call__"):
            torch.manual_seed(seed)
            expected = getattr(plain, call)(noisy, trusted)
            torch.manual_seed(seed)
            found = getattr(wrapped, call)(noisy, trusted)
            for name, values in expected.scores.items():
                assert_same(found.scores[name], values, 1e-5)
        torch.manual_seed(seed)
        assert near(found.losses, LOSS(model(noisy[0]), noisy[1]))
        assert not torch.equal(found.losses, expected.losses)  # training runs in half precision
        if not accelerators():  # on a GPU dropout in half precision is another
            assert_same(found.losses, expected.losses, 3e-2)


def test_gradients_are_those_of_plain_training_under_it():
    noisy, trusted = data(8), data(6)
    model, twin = as_accelerate_does(network()), as_accelerate_does(network())
    weigh = MetaReweighter(model, LOSS)
    torch.manual_seed(0)
    step = weigh(noisy, trusted)
    step.loss.backward()
    torch.manual_seed(0)
    (step.weights * LOSS(twin(noisy[0]), noisy[1])).sum().backward()
    for p, q in zip(model.parameters(), twin.parameters(), strict=True):
        assert near(p.grad, q.grad)


def test_autocast_elsewhere_is_left_alone():
    """In another thread, and after an exception in the pass."""
    inside, done = threading.Event(), threading.Event()
    seen: list[bool] = []

    def other() -> None:
        inside.wait(10)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            seen.append(torch.is_autocast_enabled("cpu"))
        done.set()

    class Waiting(nn.Linear):
        def forward(self, _x: Tensor) -> Tensor:
            inside.set()
            done.wait(10)
            raise ArithmeticError("as arranged")

    original = torch.autocast.__enter__
    thread = threading.Thread(target=other)
    thread.start()
    with pytest.raises(ArithmeticError):
        MetaReweighter(Waiting(6, 3), LOSS).score(data(4), data(4))
    thread.join()
    assert seen == [True]
    assert torch.autocast.__enter__ is original


@pytest.mark.usefixtures("on_the_cpu")
@pytest.mark.compatibility("framework", "accelerate, mixed_precision bf16", "exact")
def test_with_accelerate_itself():
    accelerate = pytest.importorskip("accelerate", reason="accelerate is not installed")
    accelerator = accelerate.Accelerator(mixed_precision="bf16", cpu=True)
    noisy, trusted = data(8), data(6)
    model = accelerator.prepare(network())
    wrapped, plain = MetaReweighter(model, LOSS), MetaReweighter(network(), LOSS)
    for seed in range(3):
        torch.manual_seed(seed)
        expected = plain(noisy, trusted)
        torch.manual_seed(seed)
        found = wrapped(noisy, trusted)
        for name, values in expected.scores.items():
            assert_same(found.scores[name], values, 1e-5)
        accelerator.backward(found.loss)
