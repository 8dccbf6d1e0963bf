"""The user's objects stay the user's: every parameter the same object, with its value."""

from __future__ import annotations

import collections
import copy
import itertools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reweight import GradientSimilarity, MetaReweighter, UnguardedWriteError
from tests.comparing import assert_same
from tests.compatibility.marks import rows
from tests.device import accelerators
from tests.isolation.reference import similarity_on_copies
from tests.problems import float64
from tests.snapshot import Snapshot

METHODS = ("auto", "forward", "double_backward", "per_sample")


def cross_entropy(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    return F.cross_entropy(model(batch[0]), batch[1], reduction="none")


def data(count: int, *, words: bool = False) -> tuple[Tensor, Tensor]:
    inputs = torch.randint(7, (count, 4)) if words else torch.randn(count, 6)
    return inputs, torch.randint(3, (count,))


class Shared(nn.Module):
    """One layer under several names, in the container that ``how`` says."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(6, 6), nn.Linear(6, 3)
        again: dict[str, Callable[[], nn.Module]] = {
            "sequential": lambda: nn.Sequential(self.first, nn.Tanh(), self.last),
            "list": lambda: nn.ModuleList([self.first] * 3),
            "dict": lambda: nn.ModuleDict({"a": self.first, "b": self.first}),
            "nested": lambda: nn.Sequential(nn.Sequential(self.first), nn.ModuleList([self.first])),
            "parameters": lambda: nn.ParameterList([self.first.weight, self.first.weight]),
        }
        self.again = again[how]()
        self.how = how

    def forward(self, x: Tensor) -> Tensor:
        if self.how == "sequential":
            return self.again(x)
        if self.how == "parameters":
            return self.last(F.linear(x, self.again[0]) + self.first(x))
        for layer in (self.first, *self.first_again()):
            x = layer(x).tanh()
        return self.last(x)

    def first_again(self) -> list[nn.Module]:
        if self.how == "dict":
            return list(self.again.values())
        if self.how == "nested":
            return [self.again[0], self.again[1][0]]
        return list(self.again)


class Renormalised(nn.Module):
    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        words = nn.EmbeddingBag if kind == "bag" else nn.Embedding
        self.words = words(7, 5, max_norm=0.5)
        self.head = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.words(x)
        return self.head(h if self.kind == "bag" else h.mean(1))


class Clamped(nn.Module):
    """Keeps its parameters in a range, in the forward pass, in the way that ``how`` says."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(6, 8), nn.Linear(8, 3)
        self.how = how
        self.register_buffer("calls", torch.zeros((), dtype=torch.long))

    def forward(self, x: Tensor) -> Tensor:
        weight = self.first.weight
        if self.how == "data":
            weight.data.clamp_(-0.2, 0.2)
        elif self.how == "data_assigned":
            weight.data = weight.data.clamp(-0.2, 0.2)
        elif self.how == "no_grad":
            with torch.no_grad():
                weight.clamp_(-0.2, 0.2)
        elif self.how == "view":
            with torch.no_grad():
                weight[:2].mul_(0.5)
        elif self.how == "item":
            with torch.no_grad():
                weight[0] = 0.1
        elif self.how == "out":
            with torch.no_grad():
                torch.clamp(weight, -0.2, 0.2, out=weight)
        elif self.how == "foreach":
            with torch.no_grad():
                torch._foreach_mul_([weight, self.last.weight], 0.9)
        elif self.how == "numpy":
            weight.detach().numpy()[0] = 0.1
        elif self.how == "later" and self.calls >= 2:
            weight.data.mul_(0.5)
        self.calls += 1
        return self.last(torch.tanh(self.first(x)))


class Momentum(nn.Module):
    """A frozen encoder that follows the trained one, updated in the forward pass."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.online = nn.Linear(6, 5)
        self.target = copy.deepcopy(self.online).requires_grad_(False)
        self.head = nn.Linear(5, 3)
        self.how = how

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            for own, follower in zip(
                self.online.parameters(), self.target.parameters(), strict=True
            ):
                if self.how == "data":
                    follower.data = follower.data * 0.9 + own.data * 0.1
                else:
                    follower.mul_(0.9).add_(own, alpha=0.1)
            anchor = self.target(x)
        return self.head(self.online(x) * anchor)


MODELS: dict[str, Callable[[], nn.Module]] = {
    **{
        f"shared_{how}": (lambda how=how: Shared(how))
        for how in ("sequential", "list", "dict", "nested", "parameters")
    },
    "max_norm": lambda: Renormalised("embedding"),
    "max_norm_bag": lambda: Renormalised("bag"),
    **{
        f"clamped_{how}": (lambda how=how: Clamped(how))
        for how in ("data", "data_assigned", "no_grad", "view", "item", "out", "foreach", "numpy")
        if how != "numpy" or not accelerators()  # whose memory NumPy does not see
    },
    "momentum": lambda: Momentum("in place"),
    "momentum_data": lambda: Momentum("data"),
}


ABOUT = {
    name: {
        "shared": "Layers and parameters under several names, in any container",
        "max": "Embeddings with max_norm",
        "clamped": "Parameters clamped or rescaled in forward",
        "momentum": "Frozen parameters written in forward (a momentum encoder)",
    }[name.partition("_")[0]]
    for name in MODELS
}


def problem(name: str) -> tuple[nn.Module, tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    with float64():
        words = name.startswith("max_norm")
        return MODELS[name](), data(5, words=words), data(4, words=words)


@pytest.mark.filterwarnings("ignore:GradientSimilarity")
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", MODELS)
def test_score_leaves_the_model_bit_for_bit_and_is_exact(name, method):
    model, noisy, trusted = problem(name)
    if name == "max_norm_bag" and method in ("forward", "double_backward"):
        pytest.skip("PyTorch has no such derivative of an embedding bag")
    weigh = MetaReweighter(model, forward=cross_entropy, scorer=GradientSimilarity(method))
    expected = similarity_on_copies(model, cross_entropy, noisy, trusted)
    for _ in range(3):  # what is known of a model from one pass serves the next
        before = Snapshot(model)
        step = weigh.score(noisy, trusted)
        assert before.changed() == []
        assert_same(step.scores["gradient_similarity"], expected, 1e-9)


@pytest.mark.filterwarnings("ignore:GradientSimilarity")
@pytest.mark.parametrize("name", rows("memory", MODELS, ABOUT))
def test_a_step_trains_as_without_scores(name):
    """Same parameter objects under every name, and values that plain training would have."""
    model, noisy, trusted = problem(name)
    twin = copy.deepcopy(model)
    own = {n: id(p) for n, p in model.named_parameters(remove_duplicate=False)}
    weigh = MetaReweighter(model, forward=cross_entropy, scorer=GradientSimilarity())
    optimizers = [torch.optim.SGD(m.parameters(), 0.1) for m in (model, twin)]
    for _ in range(4):
        expected = similarity_on_copies(model, cross_entropy, noisy, trusted)
        step = weigh(noisy, trusted)
        assert_same(step.scores["gradient_similarity"], expected, 1e-9)
        (step.weights * cross_entropy(twin, noisy)).sum().backward()
        step.loss.backward()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        assert {n: id(p) for n, p in model.named_parameters(remove_duplicate=False)} == own
        assert all(type(p) is nn.Parameter for p in model.parameters())
        for (key, value), other in zip(
            model.state_dict().items(), twin.state_dict().values(), strict=True
        ):
            assert_same(value, other, 1e-12) if value.is_floating_point() else None
            assert torch.equal(value, other) or value.is_floating_point(), key


def test_a_write_that_begins_late_is_caught_before_it_happens():
    """What earlier passes did not do is found out before it is done, and done on a copy."""
    with float64():
        model, noisy, trusted = Clamped("later"), data(5), data(4)
    weigh = MetaReweighter(model, forward=cross_entropy, scorer=GradientSimilarity())
    for call in range(5):
        expected = similarity_on_copies(model, cross_entropy, noisy, trusted)
        before = Snapshot(model)
        step = weigh.score(noisy, trusted)
        assert before.changed() == []
        assert_same(step.scores["gradient_similarity"], expected, 1e-9)
        model.calls.fill_(call)


def test_an_alias_in_a_variable_of_the_function_is_written_into_as_a_copy():
    with float64():
        model, noisy, trusted = nn.Linear(6, 3), data(5), data(4)
    late = [False]

    def forward(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        if late[0]:  # through an alias that was made before the pass
            with torch.no_grad():
                alias.mul_(0.5)
        return cross_entropy(model, batch)

    alias = model.weight.detach()
    weigh = MetaReweighter(model, forward=forward, scorer=GradientSimilarity())
    weigh.score(noisy, trusted)
    late[0] = True
    value = model.weight.detach().clone()
    weigh.score(noisy, trusted)
    assert torch.equal(model.weight, value)


class Scaled(nn.Module):
    """A trained parameter, a frozen one and a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.trained, self.frozen = nn.Linear(6, 3), nn.Parameter(torch.ones(6), False)
        self.register_buffer("buffer", torch.ones(6))

    def forward(self, x: Tensor) -> Tensor:
        return self.trained(x * self.frozen * self.buffer)


@pytest.mark.parametrize("self_check", [True, False])
@pytest.mark.parametrize("begins", [0, 2])
@pytest.mark.parametrize("name", ["trained.weight", "frozen", "buffer"])
def test_a_write_that_nothing_can_be_kept_from_is_refused_before_it_happens(
    name, begins, self_check
):
    """Through an alias that a generator keeps, where nobody can put a copy in its place."""
    with float64():
        model, noisy, trusted = Scaled(), data(5), data(4)
    own = {**dict(model.named_parameters()), **dict(model.named_buffers())}[name]
    aliases = (alias for alias in itertools.repeat(own.detach()))
    late = [not begins]

    def forward(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        alias = next(aliases)
        if late[0]:
            with torch.no_grad():
                alias.mul_(0.5)
        return cross_entropy(model, batch)

    weigh = MetaReweighter(
        model, forward=forward, scorer=GradientSimilarity(), self_check=self_check
    )
    for _ in range(begins):
        weigh.score(noisy, trusted)
    late[0] = True
    before = Snapshot(model)
    with pytest.raises(UnguardedWriteError, match="by an alias"):
        weigh.score(noisy, trusted)
    assert before.changed() == []


class Registering(nn.Module):
    """Makes buffers, attributes, submodules and hooks in its first forward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        if not hasattr(self, "scale"):
            self.register_buffer("scale", x.detach().abs().mean(), persistent=False)
            self.register_buffer("kept", x.detach().mean())
            self.note = "made"
            self.extra = nn.Identity()
            self.head.register_forward_hook(lambda *_: None)
        return self.head(x / self.scale)


@pytest.mark.compatibility(
    "memory", "Buffers, layers and hooks that the first forward registers", "exact"
)
def test_what_a_forward_registers_is_the_training_pass_s_own():
    with float64():
        model, noisy, trusted = Registering(), data(5), data(4)
    expected = similarity_on_copies(model, cross_entropy, noisy, trusted)
    weigh = MetaReweighter(model, forward=cross_entropy, scorer=GradientSimilarity())
    before = Snapshot(model)
    step = weigh.score(noisy, trusted)
    assert before.changed() == []
    assert model._non_persistent_buffers_set == set()
    assert_same(step.scores["gradient_similarity"], expected, 1e-9)
    weigh(noisy, trusted)
    assert torch.equal(model.scale, noisy[0].abs().mean())
    assert model.note == "made"
    assert model._non_persistent_buffers_set == {"scale"}


class RememberingLoss(nn.Module):
    """Class means, a step count and a history: a buffer, a number, a list, a plain tensor."""

    def __init__(self, *, trained: bool = False) -> None:
        super().__init__()
        self.register_buffer("means", torch.zeros(3))
        self.count = 0
        self.history: list[float] = []
        self.queue = torch.zeros(4)
        self.by_class: dict[int, int] = collections.defaultdict(int)
        self.temperature = nn.Parameter(torch.ones(())) if trained else 1.0

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        with torch.no_grad():
            self.means.mul_(0.9).add_(output.mean(0), alpha=0.1)
            self.queue[self.count % 4] = output.mean()
        self.count += 1
        self.history.append(float(self.means.sum()))
        self.by_class[int(target[0])] += 1
        margin = self.means + 0.1 * self.count + self.queue.sum() + len(self.history)
        return F.cross_entropy(
            (output + margin * output) / self.temperature, target, reduction="none"
        )


@pytest.mark.compatibility("memory", "Buffers and lists of the loss", "exact")
def test_memories_of_the_loss_move_once_a_step_and_not_in_score():
    with float64():
        model, loss, noisy, trusted = nn.Linear(6, 3), RememberingLoss(), data(5), data(4)
    twin, other = copy.deepcopy((model, loss))
    both = nn.ModuleList([model, loss])
    expected = similarity_on_copies(
        both, lambda m, batch: m[1](m[0](batch[0]), batch[1]), noisy, trusted
    )
    weigh = MetaReweighter(model, loss, scorer=GradientSimilarity())
    before = Snapshot(both)
    step = weigh.score(noisy, trusted)
    assert before.changed() == []
    assert (loss.count, loss.history, dict(loss.by_class)) == (0, [], {})
    assert_same(step.scores["gradient_similarity"], expected, 1e-9)
    step = weigh(noisy, trusted)
    assert_same(step.scores["gradient_similarity"], expected, 1e-9)
    other(twin(noisy[0]), noisy[1])
    assert (loss.count, loss.history) == (other.count, other.history)
    assert torch.equal(loss.means, other.means)
    assert torch.equal(loss.queue, other.queue)
    assert loss.by_class == other.by_class


class Spread(nn.Module):
    """A graph's edges as a sparse matrix, small or large, which the forward pass may write into."""

    def __init__(self, layout: torch.layout, nodes: int, writes: bool) -> None:
        super().__init__()
        self.head, self.writes = nn.Linear(6, 3), writes
        edges = torch.zeros(nodes, nodes).index_put_(
            (torch.arange(8), torch.arange(8)), torch.ones(8)
        )
        self.register_buffer("edges", edges.to_sparse(layout=layout))

    def forward(self, x: Tensor) -> Tensor:
        if self.writes:
            self.edges.mul_(0.5)
        nodes = torch.zeros(len(self.edges), x.shape[1]).index_copy(0, torch.arange(len(x)), x)
        return self.head((self.edges @ nodes)[: len(x)])


@pytest.mark.filterwarnings("ignore:GradientSimilarity", "ignore:Sparse")
@pytest.mark.compatibility("memory", "Sparse buffers, written in forward or not", "exact")
@pytest.mark.parametrize("writes", [False, True])
@pytest.mark.parametrize("nodes", [10, 1100])
@pytest.mark.parametrize("layout", [torch.sparse_coo, torch.sparse_csr, torch.sparse_csc])
def test_sparse_buffers_are_put_back(layout, nodes, writes):
    with float64():
        model, noisy, trusted = Spread(layout, nodes, writes), data(5), data(4)
        dense = model.edges.to_dense()
        weigh = MetaReweighter(model, forward=cross_entropy, scorer=GradientSimilarity())
        report = weigh.check(noisy, trusted)
        assert report.ok, report
        for _ in range(3):
            weigh.score(noisy, trusted)
            assert torch.equal(model.edges.to_dense(), dense)
        weigh(noisy, trusted)
        assert torch.equal(model.edges.to_dense(), dense * (0.5 if writes else 1.0))
