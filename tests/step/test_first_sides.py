"""Losses that are not one per sample are said, once; those that are raise no alarm."""

from __future__ import annotations

import re
import warnings
from collections import namedtuple
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reweight import LossMagnitude, MetaReweighter
from tests.device import packed

SAYS = "the loss returned"


def one_hot(target, like):
    return F.one_hot(target, like.shape[1]).movedim(-1, 1).to(like)


def batch_dice(output, target):
    p, t = output.softmax(1), one_hot(target, output)
    return 1 - 2 * (p * t).sum((0, 2, 3)) / (p + t).sum((0, 2, 3))


def foreground_dice(output, target):
    return batch_dice(output, target)[1:2]


def flat(output, target):
    return F.cross_entropy(output.flatten(0, -2), target.flatten(), reduction="none")


ABOUT = {
    "a Dice over the batch": "Dice over the whole batch, one value a class",
    "one value for the batch": "One value for the whole batch",
    "flattened tokens": "Tokens flattened into the batch",
    "time first": "Losses with time before the batch",
    "two views": "Two views of each sample, one after the other",
}


def weigh(forward=None, loss=None, model=None):
    model = nn.Linear(6, 3) if model is None else model
    return MetaReweighter(model, loss, forward=forward, scorer=LossMagnitude())


class Last(nn.Module):
    """Time first: a state a step."""

    def __init__(self):
        super().__init__()
        self.rnn, self.head = nn.RNN(6, 5), nn.Linear(5, 3)

    def forward(self, x):
        return self.head(self.rnn(x)[0])


def each_step(output, target):
    steps = [F.cross_entropy(step, target, reduction="none").mean() for step in output]
    return torch.stack(steps)


def images(n):
    return torch.randn(n, 1, 4, 4), torch.randint(3, (n, 4, 4))


def words(n):
    return torch.randn(n, 7, 6), torch.randint(3, (n, 7))


ODD = {
    "a Dice over the batch": (batch_dice, lambda: nn.Conv2d(1, 3, 1), images, 5, 3),
    "one value for the batch": (foreground_dice, lambda: nn.Conv2d(1, 3, 1), images, 5, 1),
    "flattened tokens": (flat, lambda: nn.Linear(6, 3), words, 5, 35),
    "time first": (
        each_step,
        Last,
        lambda n: (torch.randn(7, n, 6), torch.randint(3, (n,))),
        5,
        7,
    ),
    "two views": (
        lambda o, y: F.cross_entropy(torch.cat([o, o]), torch.cat([y, y]), reduction="none"),
        lambda: nn.Linear(6, 3),
        lambda n: (torch.randn(n, 6), torch.randint(3, (n,))),
        5,
        10,
    ),
}


@pytest.mark.parametrize(
    ("kind", "as_pair"),
    # Without a target by itself nothing tells time from samples.
    [
        pytest.param(kind, pair, marks=pytest.mark.compatibility("loss", ABOUT[kind], "warned of"))
        for kind in ODD
        for pair in (True, False)
        if pair or kind != "time first"
    ],
)
def test_another_number_of_losses_than_of_samples_is_said_once(kind, as_pair, record_property):
    loss, model, batch, samples, losses = ODD[kind]
    reweighter = (
        weigh(loss=loss, model=model())
        if as_pair
        else weigh(forward=lambda m, b: loss(m(b["x"]), b["y"]), model=model())
    )
    given = batch(samples) if as_pair else dict(zip("xy", batch(samples), strict=True))
    with pytest.warns(UserWarning, match=SAYS) as said:
        reweighter(given, given)
    assert len(said) == 1
    record_property("reason", re.sub(r"\d+ (value|sample)", r"… \1", str(said[0].message)))
    assert f"returned {losses} value" in str(said[0].message)
    assert f" {samples} " in str(said[0].message)
    assert "counted" in str(said[0].message)
    assert said[0].filename == __file__  # it is the user's line
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        reweighter(given, given)


def test_it_is_said_when_it_shows_though_it_did_not_at_first():
    """Three images and three classes look alike."""
    reweighter = weigh(loss=batch_dice, model=nn.Conv2d(1, 3, 1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        reweighter(images(3), images(3))
    with pytest.warns(UserWarning, match=SAYS):
        reweighter(images(4), images(3))


def test_who_says_which_losses_count_is_not_asked():
    def forward(model, batch):
        losses = flat(model(batch[0]), batch[1])
        return losses, torch.ones_like(losses, dtype=torch.bool)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        step = weigh(forward=forward)(words(5), words(4))
    assert step.weights.shape == (35,)


@dataclass
class Scan:
    x: Tensor
    y: Tensor


Pair = namedtuple("Pair", ["x", "y"])
X, Y = torch.randn(5, 6), torch.randint(3, (5,))
BOXES = [{"boxes": torch.randn(n, 4), "labels": torch.ones(n)} for n in (1, 2, 0, 3, 2)]
FINE = {
    "pair": (X, Y),
    "list": [X, Y],
    "dict": {"ids": X, "y": Y},
    "inputs and a target": ((X, X.mean(1), 0.5), Y),
    "two targets and a share": (X, (Y, Y.flip(0), 0.3)),
    "no target": (X, None),
    "one value for all": (X, torch.tensor(1.0)),
    "boxes of all images in one tensor": (X, torch.randn(9, 6)),
    "a list of targets": (X, BOXES),
    "images of several sizes": ([torch.randn(3, 4, 4 + i) for i in range(5)], None),
    "packed": (packed([X[:n] for n in (2, 4, 1, 3, 1)]), None),
    "time first, samples in the target": (torch.randn(7, 5, 6), Y),
    "data class": Scan(X, Y),
    "object": SimpleNamespace(scan=Scan(X, Y)),
    "named tuple": Pair(X, Y),
    "graph": {"x": torch.randn(12, 6), "edges": torch.zeros(2, 20).long(), "y": Y},
    "nodes of which some are trained on": {
        "x": torch.randn(9, 6),
        "mask": torch.arange(9) < 5,
    },
    "array": (X.cpu().numpy(), None),
    "array alone": {"x": X.cpu().numpy()},
    "names": {"files": ["a", "b", "c", "d", "e"]},
    "nothing that tells": {"path": "a", "scale": 2.0},
}


@pytest.mark.parametrize("kind", FINE)
def test_one_loss_a_sample_raises_no_alarm(kind):
    def forward(model, _):
        return model(X).square().mean(1)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        weigh(forward=forward).score(FINE[kind], FINE[kind])


@pytest.mark.parametrize(
    "batch",
    [
        (X[:1], Y[:1]),
        (X[0], Y[0]),
        {"x": torch.randn(9, 6), "y": torch.ones(1)},  # one graph
        ([X], Y[:1]),
    ],
    ids=["pair", "no side for the batch", "graph", "list"],
)
def test_a_batch_of_one(batch):
    def forward(model, _):
        return model(X[:1]).square().mean(1)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        weigh(forward=forward).score(batch, batch)


class BatchDice(nn.Module):
    """As MONAI's: it says of itself that it sums over the batch."""

    def __init__(self, batch):
        super().__init__()
        self.batch, self.reduction = batch, "none"

    def forward(self, output, target):
        if self.batch:
            return batch_dice(output, target)
        return 1 - (output.softmax(1) * one_hot(target, output)).mean((2, 3))


@pytest.mark.parametrize("inside", [False, True])
def test_as_many_classes_as_samples_are_told_apart_where_the_loss_says_so(inside):
    loss = nn.Sequential() if inside else BatchDice(batch=True)
    if inside:
        loss.inner = BatchDice(batch=True)
        loss.forward = loss.inner.forward
    reweighter = weigh(loss=loss, model=nn.Conv2d(1, 3, 1))
    with pytest.warns(UserWarning, match="batch=True") as said:
        reweighter(images(3), images(3))
    assert len(said) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        reweighter(images(3), images(3))
        weigh(loss=BatchDice(batch=False), model=nn.Conv2d(1, 3, 1))(images(3), images(3))


def test_a_loss_made_of_others_is_judged_by_what_they_say_of_their_reductions():
    class Sum(nn.modules.loss._Loss):  # its own reduction is "mean", and means nothing
        def __init__(self):
            super().__init__()
            self.one = nn.CrossEntropyLoss(reduction="none")

        def forward(self, output, target):
            return 2 * self.one(output, target)

    weigh(loss=Sum())((torch.randn(5, 6), torch.randint(3, (5,))), None)
