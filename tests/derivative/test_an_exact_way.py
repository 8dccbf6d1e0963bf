"""Where training goes there is an exact score, whatever rules an operator lacks."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reweight import GradientSimilarity, MetaReweighter
from reweight._torch_internals import compiler_loaded
from tests.comparing import assert_same
from tests.isolation.reference import similarity_on_copies
from tests.problems import float64

Forward = Callable[[nn.Module, Any], Tensor]
PROBLEMS: dict[str, Callable[[], tuple[nn.Module, Forward, Any, Any]]] = {}


def problem(function: Callable[[], tuple[nn.Module, Forward, Callable[[int], Any]]]) -> Any:
    def make() -> tuple[nn.Module, Forward, Any, Any]:
        with float64():
            model, forward, data = function()
            return model, forward, data(5), data(4)

    PROBLEMS[function.__name__] = make
    return function


def supervised(loss: Callable[[Any, Tensor], Tensor]) -> Forward:
    return lambda model, batch: loss(model(batch[0]), batch[1])


CE = nn.CrossEntropyLoss(reduction="none")


def classified(*shape: int) -> Callable[[int], Any]:
    return lambda n: (torch.randn(n, *shape), torch.randint(3, (n,)))


class Bag(nn.Module):
    def __init__(self, mode: str = "mean", **options: Any) -> None:
        super().__init__()
        self.bag, self.head = nn.EmbeddingBag(7, 5, mode=mode, **options), nn.Linear(5, 3)

    def forward(self, words: Tensor) -> Tensor:
        return self.head(self.bag(words))


def words(n: int) -> Any:
    return torch.randint(7, (n, 4)), torch.randint(3, (n,))


@problem
def bag():
    return Bag(), supervised(CE), words


@problem
def bag_of_maxima():
    return Bag("max"), supervised(CE), words


@problem
def bag_sparse():
    return Bag("sum", sparse=True), supervised(CE), words


@problem
def ctc():
    def loss(output: Tensor, target: Tensor) -> Tensor:
        lengths = torch.full((len(output),), output.shape[1])
        return F.ctc_loss(
            output.log_softmax(-1).transpose(0, 1),
            target,
            lengths,
            torch.full((len(output),), 2),
            reduction="none",
        )

    return (
        nn.Linear(4, 5),
        supervised(loss),
        lambda n: (torch.randn(n, 7, 4), torch.randint(1, 5, (n, 2))),
    )


@problem
def hardest_triplets():
    def loss(output: Tensor, target: Tensor) -> Tensor:
        d, same = torch.cdist(output, output), target[:, None] == target
        return F.relu((d * same).amax(1) - d.masked_fill(same, 1e9).amin(1) + 0.3)

    return nn.Linear(4, 3), supervised(loss), classified(4)


@problem
def margins():
    return nn.Linear(4, 3), supervised(nn.MultiMarginLoss(reduction="none")), classified(4)


@problem
def margins_of_several_labels():
    def data(n: int) -> Any:
        return torch.randn(n, 4), torch.tensor([[0, -1, 2]] * n)

    return nn.Linear(4, 3), supervised(nn.MultiLabelMarginLoss(reduction="none")), data


@problem
def distances():
    return (
        nn.Linear(4, 3),
        supervised(lambda o, t: CE(o, t) + torch.pdist(o).mean()),
        classified(4),
    )


@problem
def recurrent():
    class Reader(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn, self.head = nn.LSTM(3, 5, batch_first=True), nn.Linear(5, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.rnn(x)[0][:, -1])

    return Reader(), supervised(CE), classified(4, 3)


@problem
def sparse_graph():
    class Graph(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.nodes = nn.Embedding(10, 4)
            edges = (torch.rand(10, 10) < 0.4).to(torch.get_default_dtype())
            self.register_buffer("edges", edges.to_sparse())

        def forward(self, pairs: Tensor) -> Tensor:
            h = self.nodes.weight + self.edges @ self.nodes.weight
            return (h[pairs[:, 0]] * h[pairs[:, 1]]).sum(1)

    return (
        Graph(),
        supervised(nn.MSELoss(reduction="none")),
        lambda n: (torch.randint(10, (n, 2)), torch.randn(n)),
    )


class Uncopied(list[Tensor]):
    """PyTorch cannot copy tensors of this layout."""

    def __deepcopy__(self, memo: Any) -> Uncopied:
        return self


@problem
def sparse_csr_graph():
    class Graph(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.nodes = nn.Linear(4, 4)
            edges = (torch.rand(10, 10) < 0.4).to(torch.get_default_dtype())
            self.edges = Uncopied([edges.to_sparse_csr()])

        def forward(self, x: Tensor) -> Tensor:
            return torch.sparse.mm(self.edges[0], self.nodes(x).T.repeat(3, 1)[:10]).sum(0).tanh()

    return (
        Graph(),
        supervised(nn.MSELoss(reduction="none")),
        lambda n: (
            torch.randn(n, 4),
            torch.randn(n),
        ),
    )


@problem
def jagged():
    class Ragged(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.head = nn.Linear(4, 8), nn.Linear(8, 3)

        def forward(self, parts: list[Tensor]) -> Tensor:
            x = torch.nested.nested_tensor(parts, layout=torch.jagged)
            h = self.body(x).relu()
            return self.head(torch.stack([part.mean(0) for part in h.unbind()]))

    return (
        Ragged(),
        supervised(CE),
        lambda n: ([torch.randn(1 + i % 3, 4) for i in range(n)], torch.randint(3, (n,))),
    )


class Velocity(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2))

    def forward(self, z: Tensor, t: Tensor) -> Tensor:
        return self.net(torch.cat([z, t], 1))


@problem
def mean_flow():
    def losses(model: nn.Module, batch: Any) -> Tensor:
        z, v, t = batch
        u, du = torch.func.jvp(model, (z, t), (v, torch.ones_like(t)))
        return (u - (v - t * du).detach()).square().mean(1)

    return Velocity(), losses, lambda n: (torch.randn(n, 2), torch.randn(n, 2), torch.rand(n, 1))


@problem
def forward_mode_in_the_model():
    """A Jacobian by dual numbers, differentiated through."""

    def losses(model: nn.Module, batch: Any) -> Tensor:
        z, v, t = batch
        u, du = torch.func.jvp(lambda z: model(z, t), (z,), (v,))
        return (u + du).square().mean(1)

    return Velocity(), losses, lambda n: (torch.randn(n, 2), torch.randn(n, 2), torch.rand(n, 1))


def laplacian(second: Callable[..., Any]) -> Any:
    class Field(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1))

        def forward(self, x: Tensor) -> Tensor:
            return self.net(x).squeeze(-1)

    def losses(model: nn.Module, batch: Any) -> Tensor:
        x, f = batch
        return (torch.func.vmap(lambda p: second(model)(p).trace())(x) - f).square()

    return Field(), losses, lambda n: (torch.randn(n, 2), torch.randn(n))


@problem
def hessians():
    return laplacian(torch.func.hessian)


@problem
def jacobians_of_jacobians():
    return laplacian(lambda f: torch.func.jacrev(torch.func.jacrev(f)))


@problem
def conditional():
    class Branch(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(6, 3), nn.Linear(6, 3)

        def forward(self, x: Tensor) -> Tensor:
            return torch.cond(
                x.sum() > 0,
                lambda x, a, b: (x @ a.T).sin() + 0 * b.sum(),
                lambda x, a, b: (x @ b.T).cos() + 0 * a.sum(),
                (x, self.a.weight, self.b.weight),
            )

    return Branch(), supervised(CE), classified(6)


@problem
def scripted():
    torch.manual_seed(0)
    model = torch.jit.script(nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3)))
    return model, supervised(CE), classified(6)


@problem
def scripted_part():
    part = torch.jit.script(nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Tanh()))
    return nn.Sequential(nn.Linear(6, 6), part, nn.Linear(8, 3)), supervised(CE), classified(6)


@problem
def traced():
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))
    return torch.jit.trace(model, torch.randn(5, 6)), supervised(CE), classified(6)


class Opaque(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.sin()

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        out = torch.empty_like(g)
        with torch.no_grad():
            return torch.mul(g, ctx.saved_tensors[0].cos(), out=out)


@problem
def opaque_kernel():
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(6, 8), nn.Linear(8, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.b(Opaque.apply(self.a(x)))

    return Model(), supervised(CE), classified(6)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", PROBLEMS)
def test_auto_finds_it(name, training):
    model, forward, noisy, trusted = PROBLEMS[name]()
    expected = similarity_on_copies(model, forward, noisy, trusted)
    weigh = MetaReweighter(model, forward=forward, scorer=GradientSimilarity())
    for _ in range(3):
        step = (weigh if training else weigh.score)(noisy, trusted)
        assert_same(step.scores["gradient_similarity"], expected, 1e-7)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", PROBLEMS)
def test_per_sample_always_goes(name):
    model, forward, noisy, trusted = PROBLEMS[name]()
    expected = similarity_on_copies(model, forward, noisy, trusted)
    weigh = MetaReweighter(model, forward=forward, scorer=GradientSimilarity("per_sample"))
    assert_same(weigh(noisy, trusted).scores["gradient_similarity"], expected, 1e-7)


def test_it_says_once_which_operator_and_what_it_costs():
    model, forward, noisy, trusted = PROBLEMS["margins"]()
    weigh = MetaReweighter(model, forward=forward, scorer=GradientSimilarity())
    with pytest.warns(UserWarning, match=r"multi_margin_loss.*per_sample.*backward pass") as said:
        weigh(noisy, trusted)
    assert said[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        weigh(noisy, trusted)


def test_elements_of_a_loss_map_too():
    model, _, noisy, trusted = PROBLEMS["opaque_kernel"]()
    noisy = (noisy[0], torch.randn(5, 3).double())
    trusted = (trusted[0], torch.randn(4, 3).double())

    def squares(model: nn.Module, batch: Any) -> Tensor:
        return (model(batch[0]) - batch[1]).square()

    weigh = MetaReweighter(
        model, forward=squares, scorer=GradientSimilarity("per_sample"), granularity="element"
    )
    found = weigh(noisy, trusted).scores["gradient_similarity"]
    parameters = list(model.parameters())
    v = torch.autograd.grad(squares(model, trusted).mean(), parameters)
    for i in range(5):
        for j in range(3):
            g = torch.autograd.grad(squares(model, noisy)[i, j], parameters)
            expected = sum((a * b).sum() for a, b in zip(g, v, strict=True))
            assert_same(found[i, j], expected, 1e-9)


@pytest.mark.parametrize("error", [RuntimeError("as arranged"), ValueError("mine"), KeyError("x")])
def test_the_user_s_own_errors_stay_theirs(error):
    """Whatever was tried, what is raised is what plain training would raise."""
    calls: list[int] = []

    def forward(model: nn.Module, batch: Any) -> Tensor:
        calls.append(1)
        if len(batch[0]) == 5:
            raise error
        return CE(model(batch[0]), batch[1])

    model = nn.Linear(6, 3)
    batches = ((torch.randn(n, 6), torch.randint(3, (n,))) for n in (5, 4))
    weigh = MetaReweighter(model, forward=forward, scorer=GradientSimilarity())
    with pytest.raises(type(error)) as raised:
        weigh(*batches)
    assert raised.value is error


@pytest.mark.filterwarnings("ignore:GradientSimilarity")
@pytest.mark.parametrize("kind", [RuntimeError, ValueError, IndexError])
@pytest.mark.parametrize("training", [True, False])
def test_an_error_of_the_users_own_is_met_twice_at_most_and_comes_through_alone(
    training, kind, tmp_path
):
    calls, model = tmp_path / "calls", nn.Linear(4, 3)
    noisy, trusted = ((torch.randn(5, 4), torch.randint(3, (5,))) for _ in range(2))

    def losses_of(model, batch):
        if torch.equal(batch[0], noisy[0]):
            with calls.open("a") as file:
                file.write("x")
            raise kind("the user's own")
        return F.cross_entropy(model(batch[0]), batch[1], reduction="none")

    weigh = MetaReweighter(model, forward=losses_of, scorer=GradientSimilarity())
    with pytest.raises(kind, match=r"^the user's own$") as found:
        (weigh if training else weigh.score)(noisy, trusted)
    assert found.value.__context__ is None
    # What may need the compiler, where that is loaded, is tried once more.
    assert len(calls.read_text()) <= (4 if compiler_loaded() else 2)
