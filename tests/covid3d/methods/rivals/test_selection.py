from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from examples.covid3d.methods.rivals.selection import (
    class_thresholds,
    confident,
    leave_out,
    renews_labels,
    round_of,
    sharpen,
)
from examples.covid3d.train.loss import combo_loss


def test_confident_by_hand():
    probability = torch.tensor([0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0])
    labels, trusted = confident(probability, 0.85)
    assert labels.tolist() == [0, 0, 0, 1, 1, 1, 1]
    assert trusted.tolist() == [True, True, False, False, False, True, True]
    _, trusted = confident(probability, (0.6, 0.95))
    assert trusted.tolist() == [True, True, True, False, False, False, True]


@given(st.floats(0, 1, width=32))
def test_at_one_half_all_are_trusted(p):
    assert confident(torch.tensor(p), 0.5)[1]


@given(
    values=st.lists(st.floats(0, 1, width=32), min_size=1, max_size=40),
    share=st.floats(0.01, 1),
)
def test_thresholds_trust_at_least_the_share_of_either_class(values, share):
    probability = torch.tensor(values)
    labels, trusted = confident(probability, class_thresholds(probability, share))
    for label in (0, 1):
        of_class = labels == label
        wanted = round(share * int(of_class.sum()))
        assert int((trusted & of_class).sum()) >= wanted


def test_thresholds_are_no_lower_than_the_share_needs():
    generator = torch.Generator().manual_seed(0)
    probability = torch.rand(1000, generator=generator) * 0.8 + 0.1
    labels, trusted = confident(probability, class_thresholds(probability, 0.2))
    for label in (0, 1):
        of_class = labels == label
        assert int((trusted & of_class).sum()) == round(0.2 * int(of_class.sum()))
    assert class_thresholds(torch.zeros(5), 0.2) == (0.95, 0.95)


@given(p=st.floats(0, 1), temperature=st.floats(0.1, 10))
def test_sharpen_is_its_formula(p, temperature):
    a, b = p ** (1 / temperature), (1 - p) ** (1 / temperature)
    got = float(sharpen(torch.tensor(p, dtype=torch.float64), temperature))
    assert got == pytest.approx(a / (a + b), abs=1e-9)


def test_sharpen_keeps_0_and_1_and_goes_either_way():
    fixed = torch.tensor([0.0, 0.5, 1.0])
    assert torch.equal(sharpen(fixed, 0.3), fixed)
    assert sharpen(torch.tensor(0.7), 0.5) > 0.7 > sharpen(torch.tensor(0.7), 2.0) > 0.5


@given(steps=st.integers(1, 150), rounds=st.integers(1, 12))
def test_labels_are_renewed_once_at_the_start_of_each_later_round(steps, rounds):
    of = [round_of(step, steps, rounds) for step in range(steps)]
    lengths = [of.count(r) for r in range(rounds)]
    assert of == sorted(of)
    assert max(lengths) - min(lengths) <= 1
    renewed = [step for step in range(steps) if renews_labels(step, steps, rounds)]
    assert renewed == [step for step in range(1, steps) if of[step] != of[step - 1]]
    assert len(renewed) == min(rounds, steps) - 1


def test_leave_out_equals_a_loss_over_the_trusted_voxels():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 2, 3, 4, 5, generator=generator, requires_grad=True)
    labels = torch.randint(0, 2, (2, 3, 4, 5), generator=generator)
    trusted = torch.rand(2, 3, 4, 5, generator=generator) < 0.5
    got = combo_loss(*leave_out(logits, labels, trusted))
    for c in range(2):
        keep = trusted[c]
        p = logits[c].detach().double().softmax(0)[:, keep]
        y = labels[c][keep]
        picked = p.gather(0, y[None])[0]
        dice = (2 * p[1][y == 1].sum() + 1) / (p[1].sum() + y.sum() + 1)
        expected = 1 - dice - picked.log().sum() / keep.numel()
        assert got[c].item() == pytest.approx(float(expected), rel=1e-5)
    got.sum().backward()
    assert torch.equal((logits.grad != 0).any(1), trusted)
    everything = torch.ones_like(trusted)
    assert torch.equal(
        combo_loss(*leave_out(logits, labels, everything)), combo_loss(logits, labels)
    )


def test_bad_arguments():
    for bad in (0.4, (0.9, 1.1), math.nan):
        with pytest.raises(ValueError, match="threshold"):
            confident(torch.rand(3), bad)
    with pytest.raises(ValueError, match="share"):
        class_thresholds(torch.rand(3), 0.0)
    with pytest.raises(ValueError, match="temperature"):
        sharpen(torch.rand(3), 0.0)
    with pytest.raises(ValueError, match="rounds"):
        round_of(0, 3, 0)
    with pytest.raises(ValueError, match="step"):
        renews_labels(3, 3, 1)
