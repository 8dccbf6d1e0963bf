"""A pass never sees what another pass left behind."""

from __future__ import annotations

import copy
import itertools
import random
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, parametrize

from reweight import GradientSimilarity, MetaReweighter
from tests.comparing import assert_same
from tests.compatibility.marks import rows
from tests.isolation.reference import similarity_on_copies
from tests.problems import float64
from tests.snapshot import Snapshot


@dataclass
class Memory:
    """An object of the user's that a model keeps things in."""

    calls: int = 0
    values: dict[str, Any] = field(default_factory=dict)


class Remembering(nn.Module):
    """Keeps what it computed from its parameters, and counts, where ``how`` says."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(6, 6), nn.Linear(6, 3)
        self.how = how
        self.cache: Any = {
            "dict": dict,
            "list": list,
            "deque": lambda: deque(maxlen=3),
            "nested": lambda: {"inner": [{}]},
            "object": Memory,
            "tuple": lambda: ({},),
        }.get(how, dict)()
        self.generator = torch.Generator(torch.get_default_device()).manual_seed(3)
        self.python = random.Random(3)
        self.numpy = np.random.default_rng(3)
        self.numbers = torch.zeros(2)

    def weight(self) -> Tensor:
        """The first layer's weight, squared, computed once as long as it is kept."""
        if self.how == "dict":
            return self._kept(self.cache, "w")
        if self.how == "nested":
            return self._kept(self.cache["inner"][0], "w")
        if self.how == "tuple":
            return self._kept(self.cache[0], "w")
        if self.how == "object":
            self.cache.calls += 1
            return self._kept(self.cache.values, "w") * self.cache.calls
        if self.how in ("list", "deque"):
            if not self.cache:
                self.cache.append(self.first.weight.square())
            return self.cache[0]
        if self.how == "attribute":
            if not hasattr(self, "kept"):
                self.kept = self.first.weight.square()
            return self.kept
        return self.first.weight.square()

    def _kept(self, where: dict[str, Tensor], key: str) -> Tensor:
        if key not in where:
            where[key] = self.first.weight.square()
        return where[key]

    def forward(self, x: Tensor) -> Tensor:
        h = torch.tanh(F.linear(x, self.weight(), self.first.bias))
        if self.how == "generator":
            h = h * torch.rand(h.shape, generator=self.generator, dtype=h.dtype)
        elif self.how == "python":
            h = h * self.python.random()
        elif self.how == "numpy":
            h = h * float(self.numpy.random())
        elif self.how == "plain tensor":
            with torch.no_grad():
                self.numbers[0] += 1
                self.numbers[1] = h.mean()
            h = h * self.numbers.sum()
        elif self.how == "counter":
            self.cache["n"] = self.cache.get("n", 0) + 1
            h = h * self.cache["n"]
        return self.last(h)

    def forget(self) -> None:
        """As a user's loop would at the end of a step: the graph is gone."""
        if self.how == "attribute":
            del self.kept
        elif self.how == "nested":
            self.cache["inner"][0].clear()
        elif self.how == "tuple":
            self.cache[0].clear()
        elif self.how == "object":
            self.cache.values.clear()
        elif self.how != "counter":
            self.cache.clear()


KINDS = (
    *("dict", "list", "deque", "nested", "tuple", "object", "attribute", "counter"),
    *("generator", "python", "numpy", "plain tensor"),
)


KEPT = "What is computed from parameters and kept for the step (dict, list, object, attribute)"
ABOUT = {
    **dict.fromkeys(("dict", "list", "deque", "nested", "tuple", "object", "attribute"), KEPT),
    "counter": "Counters",
    "generator": "A torch.Generator of the model's own",
    "python": "A random.Random of the model's own",
    "numpy": "A NumPy generator of the model's own",
    "plain tensor": "Plain tensors, no buffers, written in forward",
}


def cross_entropy(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    return F.cross_entropy(model(batch[0]), batch[1], reduction="none")


def data(count: int) -> tuple[Tensor, Tensor]:
    return torch.randn(count, 6), torch.randint(3, (count,))


@pytest.mark.parametrize("method", ["auto", "double_backward", "per_sample", "unrolled"])
@pytest.mark.parametrize("how", rows("memory", KINDS, ABOUT))
def test_what_a_model_keeps_is_not_handed_on(how, method):
    with float64():
        model, noisy, trusted = Remembering(how), data(5), data(4)
    weigh = MetaReweighter(model, forward=cross_entropy, scorer=GradientSimilarity(method))
    for _ in range(3):
        expected = similarity_on_copies(model, cross_entropy, noisy, trusted)
        before = Snapshot(model)
        assert_same(weigh.score(noisy, trusted).scores["gradient_similarity"], expected, 1e-9)
        assert before.changed() == []
        twin = copy.deepcopy(model)
        step = weigh(noisy, trusted)
        assert_same(step.scores["gradient_similarity"], expected, 1e-9)
        assert_same(step.losses, cross_entropy(twin, noisy).detach(), 1e-12)
        model.forget()
        step.loss.backward()


@pytest.mark.compatibility("memory", "parametrize.cached() around the step", "exact")
def test_parametrizations_kept_by_the_caller_for_a_step():
    with float64():
        layer = parametrizations.weight_norm(nn.Linear(6, 3))
        model, noisy, trusted = nn.Sequential(nn.Tanh(), layer), data(5), data(4)
    expected = similarity_on_copies(model, cross_entropy, noisy, trusted)
    weigh = MetaReweighter(model, forward=cross_entropy, scorer=GradientSimilarity())
    with parametrize.cached():
        step = weigh(noisy, trusted)
        assert_same(step.scores["gradient_similarity"], expected, 1e-9)
        kept = layer.weight
        step = weigh.score(noisy, trusted)  # while the training pass's are kept
        assert layer.weight is kept
    assert_same(step.scores["gradient_similarity"], expected, 1e-9)


@pytest.mark.compatibility("memory", "What was computed from parameters before the step", "refused")
def test_what_was_computed_from_parameters_before_the_step_is_refused(record_property):
    with float64():
        model, noisy, trusted = Remembering("dict"), data(5), data(4)
    model.cache["w"] = model.first.weight.square()
    weigh = MetaReweighter(model, forward=cross_entropy, scorer=GradientSimilarity())
    with pytest.raises(ValueError, match=r"first\.weight.*computed.*before this step") as error:
        weigh(noisy, trusted)
    record_property("reason", str(error.value))


@pytest.mark.compatibility("memory", "Dicts, lists and counters that forward= closes over", "exact")
def test_variables_of_the_forward_function():
    """A closure's dict and list, and a global counter, are memories like a model's."""
    with float64():
        model, noisy, trusted = nn.Linear(6, 3), data(5), data(4)
    cache: dict[str, Tensor] = {}
    calls: list[int] = []

    def forward(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        calls.append(1)
        if "w" not in cache:
            cache["w"] = model.weight.square()
        output = F.linear(batch[0], cache["w"]) * len(calls)
        return F.cross_entropy(output, batch[1], reduction="none")

    def fresh(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        output = F.linear(batch[0], model.weight.square()) * (len(calls) + 1)
        return F.cross_entropy(output, batch[1], reduction="none")

    for _ in range(3):
        expected = similarity_on_copies(model, fresh, noisy, trusted)
        weigh = MetaReweighter(model, forward=forward, scorer=GradientSimilarity())
        assert_same(weigh.score(noisy, trusted).scores["gradient_similarity"], expected, 1e-9)
        assert not cache
        count = len(calls)
        step = weigh(noisy, trusted)
        assert len(calls) == count + 1
        assert_same(step.scores["gradient_similarity"], expected, 1e-9)
        cache.clear()


class Consuming:
    """A batch object that the model writes into."""

    def __init__(self, inputs: Tensor, target: Tensor) -> None:
        self.inputs, self.target, self.read = inputs, target, 0


def consume(model: nn.Module, batch: Consuming) -> Tensor:
    batch.read += 1
    batch.inputs.mul_(batch.read)
    batch.inputs = batch.inputs / 2
    return F.cross_entropy(model(batch.inputs), batch.target, reduction="none")


def test_batches_that_the_model_writes_into_also_when_they_come_again():
    with float64():
        model, noisy, trusted = nn.Linear(6, 3), Consuming(*data(5)), Consuming(*data(4))
    expected = similarity_on_copies(model, consume, noisy, trusted)
    weigh = MetaReweighter(model, forward=consume, scorer=GradientSimilarity())
    trusted_loader = itertools.cycle([trusted])
    for _ in range(4):
        given = copy.deepcopy(noisy)
        step = weigh(given, next(trusted_loader))
        assert given.read == 1  # by the training pass, as without scores
        assert trusted.read == 0
        assert_same(step.scores["gradient_similarity"], expected, 1e-9)


@pytest.mark.parametrize("first", [True, False])
def test_a_training_pass_that_cannot_be_followed_leaves_nothing_to_those_after_it(first):
    class Twice(torch.autograd.Function):
        generate_vmap_rule = True

        @staticmethod
        def forward(x: Tensor) -> Tensor:
            return 2 * x

        @staticmethod
        def setup_context(ctx: Any, inputs: Any, output: Any) -> None: ...

        @staticmethod
        def backward(_ctx: Any, gradient: Tensor) -> Tensor:
            return 2 * gradient

        @staticmethod
        def jvp(_ctx: Any, tangent: Tensor) -> Tensor:
            return 2 * tangent

    def forward(model: nn.Module, batch: Consuming) -> Tensor:
        return consume(model, batch) if first else Twice.apply(consume(model, batch))

    with float64():
        model, noisy, trusted = Remembering("counter"), Consuming(*data(5)), Consuming(*data(4))
    weigh = MetaReweighter(model, forward=forward, scorer=GradientSimilarity())
    for _ in range(3):
        expected = similarity_on_copies(model, forward, noisy, trusted)
        step = weigh(copy.deepcopy(noisy), trusted)
        assert_same(step.scores["gradient_similarity"], expected, 1e-9)


def test_inputs_that_require_a_gradient_still_do():
    """A gradient penalty, whose losses are derivatives themselves."""
    with float64():
        model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 1))
        noisy, trusted = torch.randn(5, 6), torch.randn(4, 6)

    def penalty(model: nn.Module, x: Tensor) -> Tensor:
        (slope,) = torch.autograd.grad(model(x).sum(), x, create_graph=True)
        return (slope.norm(dim=1) - 1).square()

    noisy.requires_grad_()
    trusted.requires_grad_()
    expected = similarity_on_copies(model, penalty, noisy, trusted)
    weigh = MetaReweighter(model, forward=penalty, scorer=GradientSimilarity("double_backward"))
    assert_same(weigh(noisy, trusted).scores["gradient_similarity"], expected, 1e-9)
    assert noisy.requires_grad
    assert noisy.grad is None
