"""A weighting of the user's own is a function or a small class."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

from reweight import MetaReweighter, SampleWeights, Weighting, WeightingContext
from tests.comparing import assert_same
from tests.weightings.training import ROWS, Training


def confident(context: WeightingContext) -> torch.Tensor:
    return torch.exp(-context.losses)


def test_a_function_is_divided_by_its_sum():
    step = Training(confident).step(0)
    expected = torch.exp(-step.losses)
    assert_same(step.weights, expected / expected.sum(), 1e-12)


class Counting:
    """Inherits nothing; remembers how often it was called to learn, and of which ids."""

    needs = {"ids": ROWS}  # noqa: RUF012 - as a user would write it

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def learn(self, context: WeightingContext) -> None:
        assert context.training
        self.seen.append(context.ids.tolist())

    def __call__(self, context: WeightingContext) -> torch.Tensor:
        return torch.ones_like(context.losses) * len(self.seen)

    def state_dict(self) -> dict[str, Any]:
        return {"seen": self.seen}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.seen = list(state["seen"])


class Inheriting(Weighting):
    """Not divided by the sum."""

    relative = False

    def __call__(self, context: WeightingContext) -> torch.Tensor:
        return 2 + 0 * context.losses


def test_a_class_learns_in_training_alone_and_keeps_a_state():
    own = Counting()
    training = Training(own)
    noisy, ids, _ = training.batch(0, 8)
    training.reweighter.score(noisy, training.trusted, ids=ids)
    assert own.seen == []
    training.step(0)
    assert own.seen == [ids.tolist()]
    other = Training(Counting())
    other.reweighter.load_state_dict(copy.deepcopy(training.reweighter.state_dict()))
    assert other.reweighter.weighting.function.seen == own.seen
    with pytest.raises(ValueError, match="call it with ids="):
        training.step(0, ids=None)


def test_weights_that_are_not_relative_stay_as_they_are():
    assert Training(Inheriting()).step(0).weights.tolist() == [2.0] * 8


def test_a_context_knows_labels_margins_and_logits():
    seen: list[WeightingContext] = []

    def look(context: WeightingContext) -> torch.Tensor:
        seen.append(context)
        return torch.ones_like(context.losses)

    training = Training(look)
    (x, y), ids, groups = training.batch(0, 8)
    output = training.model(x).detach()
    training.step(0)
    (context,) = seen
    assert torch.equal(context.labels, y)
    assert torch.equal(context.ids, ids.to(output.device))
    assert torch.equal(context.groups, groups.to(output.device))
    assert_same(context.logits, output, 1e-12)
    margins = [row[c] - max(v for k, v in enumerate(row) if k != c)
               for row, c in zip(output.tolist(), y.tolist(), strict=True)]  # fmt: skip
    assert_same(context.margins, torch.tensor(margins, dtype=torch.float64), 1e-12)


@pytest.mark.parametrize(
    ("returned", "words"),
    [
        (lambda c: -torch.ones_like(c.losses), "negative or non-finite"),
        (lambda c: torch.full_like(c.losses, torch.nan), "negative or non-finite"),
        (lambda _: torch.ones(3), r"weights of shape \(8,\)"),
        (lambda c: c.losses > 0, r"weights of shape \(8,\)"),
        (lambda _: 1.0, r"weights of shape \(8,\)"),
    ],
)
def test_what_are_no_weights_is_refused(returned, words):
    with pytest.raises(ValueError, match=words):
        Training(returned).step(0)


@pytest.mark.parametrize("wrong", [SampleWeights, 3, "sample"])
def test_what_is_no_weighting_is_refused(wrong):
    with pytest.raises(TypeError, match="a weighting must be a callable"):
        MetaReweighter(torch.nn.Linear(2, 2), torch.nn.MSELoss(reduction="none"), weighting=wrong)
