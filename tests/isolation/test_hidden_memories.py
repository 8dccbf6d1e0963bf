"""Memories outside a module's own attributes: classes, functions, objects, caches, iterators."""

# ruff: noqa: ARG002, RUF012

from __future__ import annotations

import copy
import functools
import itertools
import weakref
from array import array
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint
from torch.utils.weak import WeakTensorKeyDictionary

from reweight import GradientSimilarity, MetaReweighter
from reweight.errors import UnrepeatableError
from tests.comparing import assert_same
from tests.device import accelerators
from tests.oracle import flat
from tests.problems import float64

COUNT = 0


class Slotted:
    __slots__ = ("calls", "seen")

    def __init__(self) -> None:
        self.calls, self.seen = 0, torch.zeros(3)


class Model(nn.Module):
    """Multiplies its output by what it remembers."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(6, 6), nn.Linear(6, 3)

    def remembered(self, output: Tensor) -> Any:
        return 1

    def weight(self) -> Tensor:
        return self.first.weight

    def forward(self, x: Tensor) -> Tensor:
        output = self.last(torch.tanh(F.linear(x, self.weight(), self.first.bias)))
        return output * self.remembered(output.detach())


def remembering(how: str) -> tuple[nn.Module, Callable[[], Any]]:
    """A model that remembers, and what shows what it does."""

    class Own(Model):
        calls = 0
        seen = torch.zeros(3)
        kept: dict[str, Any] = {}

    if how == "slots":
        own = Slotted()

        class Slots(Own):
            def __init__(self) -> None:
                super().__init__()
                self.own = own

            def remembered(self, output: Tensor) -> Any:
                self.own.calls += 1
                self.own.seen += output.mean(0)
                return self.own.calls + self.own.seen

        return Slots(), lambda: (own.calls, own.seen.clone())
    if how == "class":

        class Class(Own):
            def remembered(self, output: Tensor) -> Any:
                type(self).calls += 1
                self.seen.add_(output.mean(0))
                self.kept["n"] = self.kept.get("n", 0) + 1
                return self.calls + self.seen + self.kept["n"]

        return Class(), lambda: (Class.calls, Own.seen.clone(), dict(Own.kept))
    if how == "function":

        def remember(output: Tensor) -> Any:
            remember.calls = getattr(remember, "calls", 0) + 1
            remember.list.append(float(output.sum()))
            return remember.calls + len(remember.list)

        remember.list = []

        class Function(Own):
            def remembered(self, output: Tensor) -> Any:
                return remember(output)

        return Function(), lambda: (getattr(remember, "calls", 0), list(remember.list))
    if how == "default":

        class Default(Own):
            def remembered(self, output: Tensor, kept: list[int] = []) -> Any:  # noqa: B006
                kept.append(1)
                return len(kept)

        return Default(), lambda: len(Default.remembered.__defaults__[0])
    if how == "nonlocal":
        count = 0

        class Nonlocal(Own):
            def remembered(self, output: Tensor) -> Any:
                nonlocal count
                count += 1
                return count

        return Nonlocal(), lambda: count
    if how == "global":

        class Global(Own):
            def remembered(self, output: Tensor) -> Any:
                return counted()

        return Global(), lambda: COUNT
    if how in ("numpy", "array", "bytearray"):

        class Numbers(Own):
            def __init__(self) -> None:
                super().__init__()
                kinds = {"numpy": np.ones(2), "array": array("d", [1, 1])}
                self.numbers = kinds.get(how, bytearray([1, 1]))

            def remembered(self, output: Tensor) -> Any:
                self.numbers[0] += 1
                return float(self.numbers[0])

        model = Numbers()
        return model, lambda: float(model.numbers[0])

    class Iterating(Own):
        def __init__(self) -> None:
            super().__init__()
            self.numbers = itertools.count(1) if how == "count" else iter(range(1, 100))

        def remembered(self, output: Tensor) -> Any:
            return next(self.numbers)

    model = Iterating()
    return model, lambda: next(copy.copy(model.numbers))


def counted() -> int:
    global COUNT
    COUNT += 1
    return COUNT


def cross_entropy(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    return F.cross_entropy(model(batch[0]), batch[1], reduction="none")


def reference(make: Callable[[], nn.Module], noisy: Any, trusted: Any) -> Tensor:
    """C + 1 backward passes, each of a model made anew."""

    def gradient(batch: Any, which: int | None) -> Tensor:
        with float64():
            model = make()
        losses = cross_entropy(model, batch)
        (losses.mean() if which is None else losses[which]).backward()
        return flat([torch.zeros_like(p) if p.grad is None else p.grad for p in model.parameters()])

    v = gradient(trusted, None)
    return torch.stack([gradient(noisy, i) for i in range(len(noisy[1]))]) @ v


@pytest.fixture
def batches() -> Any:
    global COUNT
    COUNT = 0
    with float64():
        return tuple((torch.randn(n, 6), torch.randint(3, (n,))) for n in (4, 3))


KINDS = (
    *("slots", "class", "function", "default", "nonlocal", "global"),
    *("numpy", "array", "bytearray", "count", "range"),
)


@pytest.mark.filterwarnings("ignore:GradientSimilarity")
@pytest.mark.parametrize("method", ["auto", "double_backward", "per_sample", "unrolled"])
@pytest.mark.parametrize("how", KINDS)
def test_every_pass_starts_from_what_stood_there(how, method, batches):
    global COUNT

    def anew() -> nn.Module:
        global COUNT
        COUNT = 0
        return remembering(how)[0]

    expected = reference(anew, *batches)
    COUNT = 0
    with float64():
        model, shown = remembering(how)
    weigh = MetaReweighter(model, forward=cross_entropy, scorer=GradientSimilarity(method))
    before = repr(shown())
    for _ in range(2):
        assert_same(weigh.score(*batches).scores["gradient_similarity"], expected, 1e-9)
        assert repr(shown()) == before
    step = weigh(*batches)
    assert_same(step.scores["gradient_similarity"], expected, 1e-9)
    found = repr(shown())
    COUNT = 0
    with float64():
        twin, other = remembering(how)
    cross_entropy(twin, batches[0])
    assert found == repr(other())


@pytest.mark.parametrize("how", ["lru_cache", "weak", "weak tensor", "by tensor", "by id", "view"])
def test_what_is_kept_for_a_parameter_is_found_and_followed(how, batches):
    class Cached(Model):
        kept: Any = {}

        def __init__(self) -> None:
            super().__init__()
            if how == "weak":
                self.kept = weakref.WeakKeyDictionary()
            elif how == "weak tensor":
                self.kept = WeakTensorKeyDictionary()
            elif how == "by tensor":
                self.kept = {p: 2.0 + n for n, p in enumerate(self.parameters())}
            elif how == "by id":
                self.kept = {id(p): 2.0 + n for n, p in enumerate(self.parameters())}
            elif how == "view":
                self.kept = self.first.weight.t()

        @functools.lru_cache(maxsize=4)  # noqa: B019
        def squared(self) -> Tensor:
            return self.first.weight.square()

        def weight(self) -> Tensor:
            own = self.first.weight
            if how == "lru_cache":
                return self.squared()
            if how == "view":
                return self.kept.t() * 2
            if how == "by tensor":
                return own * self.kept[own]
            if how == "by id":
                return own * self.kept[id(own)]
            key = self.first if how == "weak" else own
            if key not in self.kept:
                self.kept[key] = own.square()
            return self.kept[key]

    expected = reference(Cached, *batches)
    with float64():
        model = Cached()
    weigh = MetaReweighter(model, forward=cross_entropy, scorer=GradientSimilarity())
    for _ in range(2):
        assert_same(weigh.score(*batches).scores["gradient_similarity"], expected, 1e-9)
    step = weigh(*batches)
    assert_same(step.scores["gradient_similarity"], expected, 1e-9)
    step.loss.backward()


@pytest.mark.skipif(
    bool(accelerators()), reason="passes are compared on the CPU only, where their numbers repeat"
)
@pytest.mark.parametrize("method", ["auto", "forward", "double_backward", "per_sample"])
def test_a_memory_that_cannot_be_seen_is_refused(method, batches):
    class Generating(Model):
        def __init__(self) -> None:
            super().__init__()
            self.numbers = (n for n in itertools.count(1))

        def remembered(self, output: Tensor) -> Any:
            return next(self.numbers)

    with float64():
        model = Generating()
    weigh = MetaReweighter(model, forward=cross_entropy, scorer=GradientSimilarity(method))
    with pytest.raises(UnrepeatableError, match="outlives a pass"):
        weigh(*batches)


@pytest.mark.filterwarnings("ignore:GradientSimilarity", "ignore:None of the inputs")
@pytest.mark.parametrize("method", ["auto", "per_sample"])
@pytest.mark.parametrize("inputs", ["parameters before", "frozen before"])
def test_reentrant_checkpoints(inputs, method, batches):
    """They hide their parameters from the graph: a gradient by name raises, or is none."""

    class Recomputing(Model):
        def __init__(self) -> None:
            super().__init__()
            self.before = nn.Linear(6, 6)
            if inputs == "frozen before":
                self.before.requires_grad_(False)

        def forward(self, x: Tensor) -> Tensor:
            h = self.before(x)
            h = h if h.requires_grad else h.requires_grad_()
            inner = lambda z: torch.tanh(self.first(z))  # noqa: E731
            return self.last(checkpoint(inner, h, use_reentrant=True))

    expected = reference(Recomputing, *batches)
    with float64():
        model = Recomputing()
    weigh = MetaReweighter(
        model, forward=cross_entropy, scorer=GradientSimilarity(method), trusted_coefficient=0.5
    )
    for _ in range(2):
        assert_same(weigh.score(*batches).scores["gradient_similarity"], expected, 1e-9)
        step = weigh(*batches)
        assert_same(step.scores["gradient_similarity"], expected, 1e-9)
        step.loss.backward()
