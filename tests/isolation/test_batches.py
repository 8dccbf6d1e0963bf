"""Batches of any kind are copied whole, and nothing that a pass does to one reaches another."""

from __future__ import annotations

import abc
import collections
import enum
import random
import threading
import types
import weakref
from array import array
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from reweight import GradientSimilarity, LastLayerGradient, LossMagnitude, MetaReweighter
from reweight._isolation.batches import fresh
from tests import oracle
from tests.comparing import assert_same
from tests.device import packed
from tests.problems import cross_entropy, float64


@dataclass
class Record:
    x: Tensor
    y: Tensor
    reads: int = 0
    cache: list = field(default_factory=list)


@dataclass(frozen=True)
class Frozen:
    x: Tensor


@dataclass(frozen=True, slots=True)
class FrozenSlots:
    x: Tensor


class Plain:
    def __init__(self, x):
        self.x = x


class Slots:
    __slots__ = ("__x", "never_set")

    def __init__(self, x):
        self.__x = x

    @property
    def x(self):
        return self.__x


class Guarded(dict):
    """As an output of transformers: a mapping whose items are attributes too."""

    def __init__(self, x):
        dict.__setitem__(self, "x", x)
        self.__dict__["x"] = x

    def __setitem__(self, key, value):
        raise RuntimeError("not to be written into")

    def __setattr__(self, key, value):
        raise RuntimeError("not to be written into")


class Tagged(list):
    @property
    def x(self):
        return self[0]


class Images(tuple):
    """A tuple whose own constructor takes something else."""

    __slots__ = ()

    def __new__(cls, x, size):
        return super().__new__(cls, (x, size))

    @property
    def x(self):
        return self[0]


class Parent:
    """As a graph batch: what holds the tensors looks back at its owner, weakly and strongly."""

    def __init__(self, x):
        self.store = types.SimpleNamespace(x=x, parent=weakref.ref(self), strong=self)

    @property
    def x(self):
        assert self.store.parent() is self
        assert self.store.strong is self
        return self.store.x


KINDS = {
    "dataclass": lambda x: Record(x, x),
    "frozen": Frozen,
    "frozen with slots": FrozenSlots,
    "object": Plain,
    "slots": Slots,
    "mapping": Guarded,
    "list": lambda x: Tagged([x]),
    "made by a call": lambda x: abc.ABCMeta("Made", (Plain,), {})(x),
    "tuple": lambda x: Images(x, 3),
    "cycle": Parent,
}


@pytest.mark.parametrize("kind", KINDS)
def test_an_object_is_copied_and_what_is_written_into_it_stays_there(kind):
    x = torch.arange(6.0).reshape(3, 2)
    own = KINDS[kind](x)
    copied = fresh(own)
    assert type(copied) is type(own)
    assert copied is not own
    assert torch.equal(copied.x, x)
    copied.x.zero_()
    assert x.sum() == 15
    assert own.x is x


CONTAINERS = {
    "deque": lambda x: collections.deque([x], maxlen=4),
    "ordered": lambda x: collections.OrderedDict(x=x),
    "default": lambda x: collections.defaultdict(list, x=x),
    "user dict": lambda x: collections.UserDict(x=x),
    "counter": lambda x: collections.Counter(x=x),
    "set": lambda x: {x, "a"},
    "frozen set": lambda x: frozenset([x]),
    "read-only view": lambda x: types.MappingProxyType({"x": x}),
    "namespace": lambda x: types.SimpleNamespace(x=x),
    "return type": lambda x: torch.max(x, dim=0),
    "packed": lambda x: packed([x, x[:1]], enforce_sorted=True),
    "array of objects": lambda x: np.array([x.cpu(), None], dtype=object),
}


def tensors(value):
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, types.SimpleNamespace):
        value = vars(value)
    if isinstance(value, collections.abc.Mapping):
        value = list(value.values())
    if isinstance(value, (list, tuple, set, frozenset, collections.deque, np.ndarray)):
        return [tensor for part in value for tensor in tensors(part)]
    return []


@pytest.mark.parametrize("kind", CONTAINERS)
def test_a_container_is_copied_with_what_it_holds(kind):
    own = CONTAINERS[kind](torch.arange(6.0).reshape(3, 2))
    copied = fresh(own)
    assert type(copied) is type(own)
    assert copied is not own
    assert getattr(copied, "maxlen", None) == getattr(own, "maxlen", None)
    assert getattr(copied, "default_factory", None) == getattr(own, "default_factory", None)
    assert len(tensors(copied)) == len(tensors(own)) > 0
    for mine, other in zip(tensors(own), tensors(copied), strict=True):
        assert torch.equal(mine, other)
        assert mine.data_ptr() != other.data_ptr()


def test_what_a_batch_holds_twice_its_copy_holds_twice():
    x = torch.arange(6.0)
    batch = {"ids": x, "labels": x, "part": x[2:4], "square": x.view(2, 3), "again": [x]}
    batch["self"] = batch
    copied = fresh(batch)
    assert copied["labels"] is copied["ids"] is copied["again"][0]
    assert copied["self"] is copied
    copied["part"].fill_(-1)
    assert copied["ids"].tolist() == [0, 1, -1, -1, 4, 5]
    assert copied["square"].flatten().tolist() == copied["ids"].tolist()
    assert x.tolist() == [0, 1, 2, 3, 4, 5]


def test_a_part_of_a_large_tensor_does_not_bring_it_along():
    whole = torch.zeros(10_000)
    assert fresh([whole[5:8]])[0].untyped_storage().nbytes() < 100


def test_keys_that_hash_their_content_and_chains_of_any_length():
    @dataclass(frozen=True)
    class Key:
        name: str
        place: tuple

    key = Key("a", (1, 2))
    copied = fresh({"members": {key}, "values": {key: torch.ones(2)}})
    assert copied["members"] == {key}
    assert copied["values"][key].sum() == 2
    chain = None
    for _ in range(5000):
        chain = types.SimpleNamespace(after=chain)
    copied, length = fresh(chain), 0
    while copied is not None:
        copied, length = copied.after, length + 1
    assert length == 5000


def test_a_cycle_through_a_tuple_ends():
    inner = []
    outer = (inner, 1)
    inner.append(outer)
    copied = fresh(outer)
    assert copied is not outer
    assert copied[0][0] is copied


class Colour(enum.Enum):
    RED = 1


class Handle:
    def __init__(self):
        self.address, self.released = 1234, []

    def __del__(self):
        self.released.append(self.address)


MISSING = type("Missing", (), {})()


def test_what_is_known_by_who_it_is_stays():
    model = nn.Linear(2, 2)
    data, optimiser = (
        torch.utils.data.TensorDataset(torch.ones(2)),
        torch.optim.SGD([torch.ones(1)]),
    )
    values = [model, model.forward, nn.Linear, len, torch, Colour.RED, MISSING, object(), None]
    values += [threading.Lock(), threading.Event(), Handle(), (n for n in "ab"), torch.float64]
    values += [data, optimiser, ("a", 1), frozenset("ab"), weakref.ref(model)]
    for value in values:
        assert fresh([value])[0] is value, value


def test_random_number_generators_start_where_they_stood():
    owns = [
        torch.Generator(torch.get_default_device()).manual_seed(3),
        random.Random(3),
        np.random.default_rng(3),
    ]
    for own, draw in zip(
        owns,
        (
            lambda g: torch.rand(3, generator=g).tolist(),
            lambda g: [g.random(), g.random()],
            lambda g: g.random(3).tolist(),
        ),
        strict=True,
    ):
        copied = fresh(own)
        assert draw(copied) == draw(fresh(own)) == draw(own)
        assert draw(copied) == draw(own)


def test_arrays_of_other_libraries():
    numbers, read_only = np.ones(3), np.ones(3)
    read_only.flags.writeable = False
    copied = fresh({"a": numbers, "b": numbers, "c": read_only, "d": array("d", [1.0])})
    copied["a"][:] = 0
    copied["d"][0] = 0
    assert copied["a"] is copied["b"]
    assert copied["c"] is read_only
    assert numbers.tolist() == [1, 1, 1]


def test_tensors_of_every_layout():
    x = torch.eye(3)
    jagged = torch.nested.nested_tensor([torch.ones(2, 3), torch.ones(4, 3)], layout=torch.jagged)
    for own in (x.to_sparse(), jagged, x.half(), x.bool(), x.to(torch.complex64), x.T, x.mT):
        copied = fresh(own)
        assert copied.layout == own.layout
        assert copied.dtype == own.dtype
    first, second = fresh((jagged, jagged * 2))
    assert (first + second).size(0) == 2  # they are ragged alike


def test_a_subclass_and_what_hangs_on_a_tensor():
    class Named(Tensor):
        pass

    own = torch.ones(3).as_subclass(Named)
    own.meta = {"spacing": [1.0, 2.0]}
    copied = fresh(own)
    assert type(copied) is Named
    copied.meta["spacing"].append(3.0)
    assert own.meta == {"spacing": [1.0, 2.0]}


def test_a_metatensor_of_monai():
    MetaTensor = pytest.importorskip("monai.data").MetaTensor  # noqa: N806
    own = MetaTensor(torch.ones(2, 3), meta={"name": ["a"]})
    copied = fresh(own)
    assert type(copied) is MetaTensor
    copied.meta["name"].append("b")
    copied.zero_()
    assert own.meta["name"] == ["a"]
    assert own.sum() == 6


def test_inputs_that_require_a_gradient_do_so_in_the_copy():
    encoder = nn.Linear(2, 2)
    leaf = torch.ones(3, 2, requires_grad=True)
    computed = encoder(torch.ones(3, 2))
    prompt = nn.Parameter(torch.ones(2))
    copied = fresh(Record(leaf, computed, cache=[leaf, prompt]))
    assert copied.x.is_leaf
    assert copied.x.requires_grad
    assert copied.cache[0] is copied.x is not leaf
    found = torch.autograd.grad(copied.y.sum() + copied.cache[1].sum(), [encoder.bias, prompt])
    assert found[0].tolist() == [3, 3]
    assert found[1].tolist() == [1, 1]


# In a step ---------------------------------------------------------------------------------------


class Cache:
    """As a key-value cache: the model appends to it, and reads all that is there."""

    def __init__(self):
        self.keys, self.calls = {}, 0

    def update(self, layer, x):
        self.calls += 1
        self.keys.setdefault(layer, []).append(x)
        return torch.stack(self.keys[layer]).sum(0) * self.calls


def stream():
    return torch.Generator(torch.get_default_device()).manual_seed(7)


class Item:
    __slots__ = ("cache", "generator", "x", "y")

    def __init__(self, x, y):
        self.x, self.y, self.cache = x, y, Cache()
        self.generator = stream()


class Reading(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(4, 5), nn.Linear(5, 3)

    def forward(self, item):
        item.x.mul_(0.5)
        hidden = item.cache.update(0, self.first(item.x).tanh())
        return self.last(hidden + torch.randn(5, generator=item.generator))


def losses(model, item):
    return cross_entropy(model(item), item.y)


def problem():
    with float64():
        model = Reading()
        items = [Item(torch.randn(n, 4), torch.randint(3, (n,))) for n in (5, 4)]
    return model, items


SCORERS = {
    "forward": lambda: GradientSimilarity("forward"),
    "double": lambda: GradientSimilarity("double_backward"),
    "unrolled": lambda: GradientSimilarity("unrolled"),
    "before the pass": lambda: 0.5 * GradientSimilarity() + 0.5 * LastLayerGradient(),
    "three at once": lambda: (
        GradientSimilarity()
        + GradientSimilarity("double_backward")
        + GradientSimilarity("unrolled")
        + LossMagnitude()
    ),
}


@pytest.mark.compatibility(
    "batch", "Objects that the model writes into (graph batches, caches)", "exact"
)
@pytest.mark.parametrize("scorer", SCORERS)
def test_a_batch_object_that_the_model_writes_into(scorer):
    model, (noisy, trusted) = problem()

    def plain(model, item):
        return losses(model, fresh_item(item))

    def fresh_item(item):
        return Item(item.x.clone(), item.y)

    expected = oracle.gradient_similarity(model, plain, noisy, trusted)
    alone = fresh_item(noisy)
    losses(model, alone)
    weigh = MetaReweighter(model, forward=losses, scorer=SCORERS[scorer]())
    for _ in range(2):  # the trusted batch comes again, as from a loader that is cycled
        noisy = fresh_item(noisy) if noisy.cache.calls == 0 else problem()[1][0]
        before = trusted.x.clone()
        step = weigh(noisy, trusted)
        found = [v for name, v in step.scores.items() if name.startswith("gradient_similarity")]
        for each in found:
            assert_same(each / each.abs().max(), expected / expected.abs().max(), 1e-9)
        assert torch.equal(trusted.x, before)
        assert (trusted.cache.calls, trusted.cache.keys) == (0, {})
        # The noisy batch is as one training pass leaves it.
        assert noisy.cache.calls == 1
        assert torch.equal(noisy.x, alone.x)
        assert_same(noisy.cache.keys[0][0], alone.cache.keys[0][0], 1e-12)
        state = noisy.generator.get_state()
        assert torch.equal(state, alone.generator.get_state())
        step.loss.backward()


def test_score_leaves_both_batches_as_they_came():
    model, (noisy, trusted) = problem()
    x = noisy.x.clone()
    MetaReweighter(model, forward=losses).score(noisy, trusted)
    assert torch.equal(noisy.x, x)
    assert noisy.cache.calls == trusted.cache.calls == 0
    assert torch.equal(noisy.generator.get_state(), stream().get_state())


@pytest.mark.compatibility("batch", "Inputs that require a gradient", "exact")
def test_a_loss_that_differentiates_by_its_input():
    """As of a physics-informed network: an input must require its gradient in every pass."""
    with float64():
        model = nn.Sequential(nn.Linear(2, 5), nn.Tanh(), nn.Linear(5, 1))
        noisy, trusted = (torch.randn(n, 2).requires_grad_() for n in (5, 4))

    def residual(model, x):
        (slope,) = torch.autograd.grad(model(x).sum(), x, create_graph=True)
        return (slope.sum(1) - model(x).squeeze(1)).square()

    expected = oracle.gradient_similarity(model, residual, noisy, trusted)
    weigh = MetaReweighter(model, forward=residual, scorer=GradientSimilarity("double_backward"))
    assert_same(weigh(noisy, trusted).scores["gradient_similarity"], expected, 1e-9)
    assert noisy.grad is None
