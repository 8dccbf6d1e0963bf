"""Ids and groups that are no such are refused in words that say what to give."""

from __future__ import annotations

import math

import pytest
import torch

from reweight import GroupWeights, PerBatch, SampleWeights, WeightNet
from tests.weightings.training import GROUPS, ROWS, Training, same_state

NEEDS = {
    "ids": lambda: SampleWeights(ROWS),
    "groups": lambda: GroupWeights(GROUPS),
}
LIMIT = {"ids": ROWS, "groups": GROUPS}
VALID = [0, 1, 2, 0, 1, 2, 1, 0]

WRONG = {
    "missing": (None, ValueError, "call it with {name}="),
    "float": (torch.tensor(VALID).float(), TypeError, "{name} must be integers.*float32"),
    "bool": (torch.tensor(VALID) > 0, TypeError, "{name} must be integers.*bool"),
    "text": (["a"] * 8, TypeError, "{name} must be integers"),
    "negative": ([-1, *VALID[1:]], ValueError, "{name} must be integers >= 0.*-1"),
    "too_large": ([10**6, *VALID[1:]], ValueError, "{name} must be below {limit}.*1000000"),
    "too_few": (VALID[1:], ValueError, r"{name} must be one integer a sample, \(8,\).*\(7,\)"),
    "too_many": ([*VALID, 0], ValueError, r"{name} must be one integer a sample, \(8,\).*\(9,\)"),
    "one": (torch.tensor(3), ValueError, "{name} must be one integer a sample"),
    "a_map": (torch.tensor([VALID] * 3).T, ValueError, "{name} must be one integer a sample"),
}


@pytest.mark.parametrize("call", ["step", "score"])
@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("name", NEEDS)
def test_wrong_rows_are_refused_and_nothing_is_learnt(name, wrong, call):
    values, kind, words = WRONG[wrong]
    training = Training(NEEDS[name]())
    before = training.state()
    noisy, ids, groups = training.batch(0, 8)
    given = {"ids": ids, "groups": groups, name: values}
    act = training.reweighter if call == "step" else training.reweighter.score
    with pytest.raises(kind, match=words.format(name=name, limit=LIMIT[name])):
        act(noisy, training.trusted, **given)
    assert same_state(training.state(), before)


def test_rows_of_elements_must_be_as_many():
    training = Training(SampleWeights(ROWS), sequence=4, granularity="element")
    with pytest.raises(ValueError, match=r"or one an element, \(5, 4\); got shape \(5, 3\)"):
        training.step(0, 5, ids=torch.zeros(5, 3, dtype=torch.int64))


@pytest.mark.parametrize("kind", [list, tuple, torch.tensor, "numpy", "int32", "uint8"])
def test_rows_may_come_in_any_form(kind):
    if kind == "numpy":
        ids = pytest.importorskip("numpy").array(VALID)
    elif isinstance(kind, str):
        ids = torch.tensor(VALID, dtype=getattr(torch, kind))
    else:
        ids = kind(VALID)
    found = Training(SampleWeights(ROWS)).step(0, ids=ids).weights
    assert torch.equal(
        found, Training(SampleWeights(ROWS)).step(0, ids=torch.tensor(VALID)).weights
    )


def test_rows_that_nothing_asks_for_are_welcome():
    training = Training(PerBatch())
    expected = Training(PerBatch()).step(0, ids=None, groups=None).weights
    assert torch.equal(training.step(0, ids=VALID, groups=VALID).weights, expected)


def test_a_sample_that_is_left_out_must_have_had_a_row():
    training = Training(SampleWeights(ROWS), on_nonfinite="drop")
    (x, y), _, _ = training.batch(0, 8)
    x[3] = math.nan
    with pytest.raises(ValueError, match=r"one integer a sample, \(8,\).*\(7,\)"):
        training.step(0, noisy=(x, y), ids=VALID[1:])


def test_a_network_asks_for_what_its_features_need():
    assert WeightNet(features="loss").needs == {}
    features = ["remembered_margin", "class", "group"]
    found = WeightNet(features=features, num_samples=7, num_classes=2, num_groups=3)
    assert found.needs == {"ids": 7, "groups": 3}
    training = Training(WeightNet(features=["loss", "group"], num_groups=GROUPS))
    training.step(0, ids=None)
    with pytest.raises(ValueError, match="call it with groups="):
        training.step(0, groups=None)
