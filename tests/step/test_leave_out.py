"""Leaving samples out of a batch: as if they had never been there, or refused; never a guess."""

from __future__ import annotations

from collections import namedtuple
from dataclasses import dataclass, replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import unpack_sequence

from reweight import (
    GradientSimilarity,
    LossMagnitude,
    MetaReweighter,
    RandomWeights,
    Rectify,
    Scorer,
    Uniform,
)
from reweight._step.leave_out import narrow
from reweight.scorers import as_mixture, as_scorer
from tests.comparing import assert_same
from tests.device import packed
from tests.problems import float64

KEPT = torch.tensor([True, False, True, True, False])
NAN = float("nan")


# Batches in which a sample is more than a row ----------------------------------------------------


class Bag(nn.Module):
    def __init__(self):
        super().__init__()
        self.bag, self.head = nn.EmbeddingBag(7, 5, mode="sum"), nn.Linear(5, 1)

    def forward(self, words, offsets):
        return self.head(self.bag(words, offsets)).squeeze(1)


def bags(lengths=(2, 3, 1, 3, 2)):
    starts = torch.tensor([0, *lengths]).cumsum(0)[:-1]
    return (torch.randint(7, (sum(lengths),)), starts), torch.randn(len(lengths))


def bag_losses(model, batch):
    (words, offsets), target = batch
    return (model(words, offsets) - target).square()


def spoil_bags(batch):
    batch[1][1] = NAN
    return batch


def leave_out_bags(batch, kept):
    (words, offsets), target = batch
    kept = kept.to(words.device)  # which is given on the CPU
    lengths = torch.diff(offsets, append=torch.tensor([len(words)]))
    starts = torch.cat([torch.zeros(1, dtype=torch.long), lengths[kept].cumsum(0)[:-1]])
    return (words[kept.repeat_interleave(lengths)], starts), target[kept]


def letters(lengths=(2, 3, 1, 4, 2)):
    return {
        "x": torch.randn(len(lengths), 7, 4),
        "targets": torch.randint(1, 5, (sum(lengths),)),
        "frames": torch.tensor([7, 6, 7, 7, 5]),
        "lengths": torch.tensor(lengths),
    }


def ctc_losses(model, batch):
    scores = model(batch["x"]).log_softmax(-1).transpose(0, 1)
    return F.ctc_loss(scores, batch["targets"], batch["frames"], batch["lengths"], reduction="none")


def spoil_letters(batch):
    batch["frames"][1] = 1  # fewer frames than letters: infinite
    return batch


def leave_out_letters(batch, kept):
    kept = kept.to(batch["targets"].device)
    letters = batch["targets"][kept.repeat_interleave(batch["lengths"])]
    return {name: value[kept] for name, value in batch.items() if name != "targets"} | {
        "targets": letters
    }


@dataclass
class Graphs:
    x: Tensor
    graph: Tensor
    y: Tensor


def graphs(sizes=(2, 3, 2, 3, 2)):
    number = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    return Graphs(torch.randn(sum(sizes), 3), number, torch.randn(len(sizes)))


def graph_losses(model, batch):
    nodes = model(batch.x)
    pooled = nodes.new_zeros(len(batch.y), 1).index_add(0, batch.graph, nodes)
    return (pooled.squeeze(1) - batch.y).square()


def spoil_graphs(batch):
    batch.y[1] = NAN
    return batch


def leave_out_graphs(batch, kept):
    kept = kept.to(batch.graph.device)
    nodes = kept[batch.graph]
    number = kept.cumsum(0) - 1
    return replace(batch, x=batch.x[nodes], graph=number[batch.graph[nodes]], y=batch.y[kept])


def as_dict(batch):
    return vars(batch)


RAGGED = {
    "bags": (Bag, bags, bag_losses, spoil_bags, leave_out_bags),
    "one word a bag on average": (
        Bag,
        lambda: bags((1, 2, 0, 1, 1)),
        bag_losses,
        spoil_bags,
        leave_out_bags,
    ),
    "letters": (lambda: nn.Linear(4, 5), letters, ctc_losses, spoil_letters, leave_out_letters),
    "one letter on average": (
        lambda: nn.Linear(4, 5),
        lambda: letters((1, 2, 0, 1, 1)),
        ctc_losses,
        spoil_letters,
        leave_out_letters,
    ),
    "graphs": (lambda: nn.Linear(3, 1), graphs, graph_losses, spoil_graphs, leave_out_graphs),
    "graphs in a dict": (
        lambda: nn.Linear(3, 1),
        lambda: as_dict(graphs()),
        lambda model, batch: graph_losses(model, Graphs(**batch)),
        lambda batch: as_dict(spoil_graphs(Graphs(**batch))),
        lambda batch, kept: as_dict(leave_out_graphs(Graphs(**batch), kept)),
    ),
    "one node a graph on average": (
        lambda: nn.Linear(3, 1),
        lambda: as_dict(graphs((1, 2, 0, 1, 1))),
        lambda model, batch: graph_losses(model, Graphs(**batch)),
        lambda batch: as_dict(spoil_graphs(Graphs(**batch))),
        lambda batch, kept: as_dict(leave_out_graphs(Graphs(**batch), kept)),
    ),
}


def ragged(kind):
    make, batch, losses, spoil, leave_out = RAGGED[kind]
    with float64():
        return make(), batch(), spoil(batch()), batch(), losses, leave_out


@pytest.mark.parametrize("kind", RAGGED)
@pytest.mark.parametrize("which", ["noisy", "trusted"])
def test_what_would_be_a_guess_is_refused_in_words(kind, which):
    model, good, bad, _, losses, _ = ragged(kind)
    scorer = GradientSimilarity("finite_difference")
    weigh = MetaReweighter(model, forward=losses, scorer=scorer, on_nonfinite="drop")
    weigh(good, good)
    with pytest.raises((TypeError, ValueError), match=r'on_nonfinite="drop".*leave_out='):
        weigh(*((bad, good) if which == "noisy" else (good, bad)))


@pytest.mark.parametrize("kind", RAGGED)
@pytest.mark.parametrize("which", ["noisy", "trusted"])
def test_a_function_says_how_to_leave_samples_out(kind, which):
    model, good, bad, other, losses, leave_out = ragged(kind)
    kept = torch.tensor([True, False, True, True, True])
    options = {
        "scorer": GradientSimilarity("finite_difference") + LossMagnitude(),
        "trusted_coefficient": 0.4,
    }
    weigh = MetaReweighter(
        model, forward=losses, on_nonfinite="drop", leave_out=leave_out, **options
    )
    plain = MetaReweighter(model, forward=losses, **options)
    part = leave_out(bad, kept)
    if which == "noisy":
        step, expected = weigh(bad, other), plain.score(part, other)
        assert step.dropped == (1,)
        assert_same(step.weights[kept], expected.weights, 1e-6)
        assert_same(step.losses[kept], losses(model, part), 1e-9)
    else:
        step, expected = weigh(good, bad), plain.score(good, part)
        assert_same(step.weights, expected.weights, 1e-6)
    assert_same(step.loss, expected.loss, 1e-6)


def test_a_function_that_leaves_another_number_is_told_so():
    model, good, bad, _, losses, _ = ragged("bags")
    for function in (lambda batch, kept: batch, lambda batch, kept: bags((1, 1))):  # noqa: ARG005
        weigh = MetaReweighter(
            model,
            forward=losses,
            scorer=Uniform(),
            on_nonfinite="drop",
            leave_out=function,
        )
        with pytest.raises(ValueError, match="leave_out"):
            weigh(bad, good)


def test_the_function_is_given_a_batch_of_its_own_and_samples_fall_out_one_after_another():
    model, masks = nn.Linear(2, 1), []

    def leave_out(batch, kept):
        masks.append(kept.tolist())
        batch["x"] = batch["x"][kept]
        batch["bad"] = batch["bad"][kept]
        return batch

    def losses(model, batch):
        values = model(batch.pop("x")).square().sum(1)
        worst = batch["bad"] == batch["bad"].max()
        return torch.where(worst & (batch["bad"] > 0), NAN, values)

    noisy = {"x": torch.randn(4, 2), "bad": torch.tensor([0, 1, 2, 0])}
    weigh = MetaReweighter(
        model, forward=losses, scorer=Uniform(), on_nonfinite="drop", leave_out=leave_out
    )
    step = weigh(noisy)
    assert masks == [[True, True, False, True], [True, False, False, True]]
    assert step.dropped == (1, 2)
    assert noisy.keys() == {"bad"}  # as the training pass left it
    assert noisy["bad"].tolist() == [0, 1, 2, 0]


def test_it_must_be_a_function():
    with pytest.raises(TypeError, match="leave_out"):
        MetaReweighter(nn.Linear(2, 2), nn.MSELoss(reduction="none"), leave_out=True)


def test_a_batch_that_the_training_pass_writes_into_is_left_out_of_as_it_came():
    with float64():
        model = nn.Linear(3, 2)
        x, y = torch.randn(5, 3), torch.randn(5, 2)
    x[1] = NAN

    def losses(model, batch):
        return (model(batch["x"].mul_(0.5)) - batch["y"]).square().mean(1)

    rest = [0, 2, 3, 4]
    trusted = {"x": x[2:].clone(), "y": y[2:]}
    expected = MetaReweighter(model, forward=losses).score({"x": x[rest], "y": y[rest]}, trusted)
    step = MetaReweighter(model, forward=losses, on_nonfinite="drop")(
        {"x": x.clone(), "y": y}, trusted
    )
    assert_same(step.losses[rest], expected.losses, 1e-9)
    assert_same(step.weights[rest], expected.weights, 1e-9)


def test_what_an_encoder_before_the_model_made_of_a_bad_sample_cannot_be_left_out():
    with float64():
        encoder, model = nn.Linear(3, 3), nn.Linear(3, 2)
        x, y = torch.randn(5, 3), torch.randn(5, 2)
    loss = nn.MSELoss(reduction="none")
    weigh = MetaReweighter(model, loss, scorer=Uniform(), on_nonfinite="drop")
    y[1] = NAN  # the target alone: no gradient of it reaches the encoder
    weigh((encoder(x), y)).loss.backward()
    rest = [0, 2, 3, 4]
    expected = loss(model(encoder(x[rest])), y[rest]).mean()
    (gradient,) = torch.autograd.grad(expected, encoder.weight)
    assert_same(encoder.weight.grad, gradient, 1e-9)
    x[1] = NAN
    with pytest.raises(ValueError, match="was computed before the step"):
        weigh((encoder(x), y))


# What narrow() knows -----------------------------------------------------------------------------

X, Y = torch.arange(10.0).reshape(5, 2), torch.tensor([0, 0, 1, 1, 2])
ROWS = [X[i, : 1 + i % 2] for i in range(5)]
IMAGES = [torch.full((3, 4, 4 + i), float(i)) for i in range(5)]
BOXES = [{"boxes": torch.full((n, 4), float(n))} for n in (5, 2, 0, 3, 1)]
Point = namedtuple("Point", ["x", "y"])


def first(values):
    return [value for value, keep in zip(values, KEPT, strict=True) if keep]


@pytest.mark.parametrize(
    ("batch", "expected"),
    [
        ((IMAGES, X), (first(IMAGES), X[KEPT])),
        ([IMAGES, BOXES], [first(IMAGES), first(BOXES)]),
        ((X, list("abcde")), (X[KEPT], first("abcde"))),
        (((X, X.sum(1)), X), ((X[KEPT], X.sum(1)[KEPT]), X[KEPT])),
        ({"x": X, "place": torch.ones(1, 3)}, {"x": X[KEPT], "place": torch.ones(1, 3)}),
        (
            {"x": X, "lengths": torch.ones(5).long()},
            {"x": X[KEPT], "lengths": torch.ones(3).long()},
        ),
        (
            {"x": X, "y": torch.tensor([0, 0, 1, 1, 2])},
            {"x": X[KEPT], "y": torch.tensor([0, 1, 1])},
        ),
        ((X, torch.tensor([0, 0, 1, 1, 2])), (X[KEPT], torch.tensor([0, 1, 1]))),
        (Point(X, torch.tensor(2.0)), Point(X[KEPT], torch.tensor(2.0))),
    ],
    ids=[
        *("images", "images and boxes", "names", "two inputs", "broadcast", "lengths of padded"),
        *("labels in order", "a target in order", "named tuple"),
    ],
)
def test_samples_are_left_out_wherever_it_is_clear_where_they_are(batch, expected):
    assert str(narrow(batch, KEPT)) == str(expected)


def test_sequences_are_taken_apart_and_put_together_again():
    for enforce in (True, False):
        rows = sorted(ROWS, key=len, reverse=True) if enforce else ROWS
        sequences, y = narrow((packed(rows, enforce_sorted=enforce), X), KEPT)
        for found, expected in zip(unpack_sequence(sequences), first(rows), strict=True):
            assert torch.equal(found, expected)
    with torch.device("meta"):  # as where the default device is a GPU
        again, _ = narrow((sequences, X[:3]), torch.tensor([True, False, True], device="cpu"))
    assert again.batch_sizes.tolist() == [2, 1][: len(again.batch_sizes)]
    for layout in (torch.jagged, torch.strided):
        nested, y = narrow((torch.nested.nested_tensor(ROWS, layout=layout), X), KEPT)
        for found, expected in zip(nested.unbind(), first(ROWS), strict=True):
            assert torch.equal(found, expected)
    assert torch.equal(y, X[KEPT])


def test_arrays_and_sparse_tensors():
    array, sparse = narrow([X.cpu().numpy(), X.to_sparse()], KEPT)
    assert np.array_equal(array, X[KEPT].cpu().numpy())
    assert torch.equal(sparse.to_dense(), X[KEPT])


def test_a_metatensor():
    MetaTensor = pytest.importorskip("monai.data").MetaTensor  # noqa: N806
    image, same = narrow((MetaTensor(X), MetaTensor(X)), KEPT)
    assert type(image) is MetaTensor
    assert torch.equal(same.as_tensor(), X[KEPT])


THREE = torch.tensor([True, False, True])


@pytest.mark.parametrize(
    "batch",
    [
        (torch.randn(3, 4), torch.randn(7)),
        {"x": torch.randn(3, 4), "mask": torch.ones(4, 4)},
        {"x": torch.randn(3, 4), "y": SimpleNamespace(y=torch.ones(3))},
        ([torch.randn(3, 4, 4 + i) for i in range(3)], torch.ones(3)),
        ([torch.randn(3, 4, 4), torch.randn(2, 4, 4), torch.randn(3, 4, 4)], torch.ones(3)),
        ((torch.randn(6), torch.tensor([0, 2, 5])), torch.ones(3)),
        ((torch.ones(3).long(), torch.tensor([0, 1, 1])), torch.ones(3)),
        {"words": torch.ones(3).long(), "offsets": torch.tensor([0, 1, 1])},
        {"x": torch.ones(3, 2), "graph": torch.tensor([0, 0, 1])},
        {"x": torch.ones(3, 2), "batch": torch.tensor([0, 0, 1])},
        {"x": torch.ones(3, 2), "cu_seqlens": torch.tensor([0, 1, 3])},
        {"letters": torch.ones(3).long(), "lengths": torch.tensor([2, 0, 1])},
        {"x": torch.randn(7, 3, 2), "y": torch.ones(3)},
        {"path": "a"},
    ],
    ids=[
        *("another length", "a mask for all", "an object", "three images of three channels"),
        *("some images of three channels", "flat", "as flat as the batch", "named offsets"),
        *("named graph", "named batch", "named lengths of all", "named lengths of parts"),
        *("time first", "nothing"),
    ],
)
def test_where_it_is_not_clear_it_is_refused(batch):
    with pytest.raises((TypeError, ValueError), match=r'on_nonfinite="drop".*leave_out='):
        narrow(batch, THREE)


# A retry counts once -----------------------------------------------------------------------------


class Counting(Scorer):
    """Remembers how many samples it has scored."""

    def __init__(self):
        self.seen = torch.zeros(())

    def __call__(self, context):
        self.seen += len(context.losses)
        return context.losses * self.seen

    def state_dict(self):
        return {"seen": self.seen}  # not a copy

    def load_state_dict(self, state):
        self.seen = state["seen"]


class CountingSelector:
    def __init__(self):
        self.calls = 0

    def __call__(self, weights):
        self.calls += 1
        return weights * self.calls

    def state_dict(self):
        return {"calls": self.calls}

    def load_state_dict(self, state):
        self.calls = state["calls"]


class Callable:
    """No scorer of the library's, but with a state."""

    name = "own"

    def __init__(self):
        self.inner = Counting()
        self.state_dict, self.load_state_dict = self.inner.state_dict, self.inner.load_state_dict

    def __call__(self, context):
        return self.inner(context)


def remembering():
    needed = pytest.mark.skipif(
        not hasattr(GradientSimilarity, "state_dict"),
        reason="GradientSimilarity has no state_dict() yet, by which a retry puts it back",
    )
    for every, averaging in ((1, 0.5), (3, 0.0), (3, 0.5), (8, 0.5)):
        yield pytest.param(
            lambda e=every, a=averaging: GradientSimilarity(renew_every=e, averaging=a),
            id=f"renewed every {every}, averaged {averaging}",
            marks=needed,
        )
    yield pytest.param(lambda: RandomWeights(seed=5), id="random")
    yield pytest.param(Counting, id="a scorer's own")
    yield pytest.param(Callable, id="a function's own")
    yield pytest.param(lambda: 0.5 * Counting() + 0.5 * RandomWeights(), id="mixture")


@pytest.mark.parametrize("scorer", list(remembering()))
@pytest.mark.parametrize("which", ["noisy", "trusted", "a score"])
def test_a_run_with_bad_samples_is_the_run_without_them(scorer, which):
    runs = []
    for bad in (False, True):
        with float64():
            model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        loss = nn.CrossEntropyLoss(reduction="none")
        selector = CountingSelector()

        def last_is_bad(context, bad=bad):
            scores = torch.ones_like(context.losses)
            if bad and which == "a score" and len(scores) == 6:
                scores[5] = NAN
            return scores

        mixture = as_mixture(scorer()) + 0.5 * as_scorer(last_is_bad)
        weigh = MetaReweighter(model, loss, scorer=mixture, selector=selector, on_nonfinite="drop")
        found = []
        for number in range(6):
            generator = torch.Generator(torch.get_default_device()).manual_seed(number)
            noisy, trusted = (
                (
                    torch.randn(n, 6, generator=generator).double(),
                    torch.randint(3, (n,), generator=generator),
                )
                for n in (5, 4)
            )
            if bad and number in (1, 2, 4):
                value = 1.0 if which == "a score" else NAN
                if which == "trusted":
                    trusted = one_more(trusted, value)
                else:
                    noisy = one_more(noisy, value)
            step = weigh(noisy, trusted)
            found += [step.weights[:5], step.losses[:5]]
            optimizer.zero_grad()
            step.loss.backward()
            optimizer.step()
        assert selector.calls == 6
        runs.append(found)
    for without, given in zip(*runs, strict=True):
        assert_same(given, without, 1e-9)


def one_more(batch, value):
    x, y = batch
    return torch.cat([x, torch.full((1, 6), value).double()]), torch.cat([y, y[:1]])


def test_a_step_of_which_nothing_is_left_is_not_remembered():
    model, scorer = nn.Linear(6, 3), RandomWeights(seed=5)
    loss = nn.CrossEntropyLoss(reduction="none")
    weigh = MetaReweighter(model, loss, scorer=scorer, on_nonfinite="drop", selector=Rectify())
    before = scorer.state_dict()["generator"].clone()
    step = weigh((torch.full((5, 6), NAN), torch.zeros(5).long()))
    assert step.dropped == (0, 1, 2, 3, 4)
    assert torch.equal(scorer.state_dict()["generator"], before)
