from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from examples.covid3d.methods.rivals.uncertainty import (
    ask,
    consistency_loss,
    consistency_weight,
    entropy,
    noisy,
    ramp_up,
    uncertainty_threshold,
)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_entropy_is_scipys():
    p = torch.rand(2, 3, 4, 5, 6, dtype=torch.float64, generator=generator()).softmax(1)
    np.testing.assert_allclose(entropy(p), scipy.stats.entropy(p.numpy(), axis=1), atol=1e-12)


def test_entropy_of_certain_voxels_is_zero_and_of_undecided_ones_ln_2():
    p = torch.tensor([[[0.0, 0.5]], [[1.0, 0.5]]]).reshape(1, 2, 2)
    np.testing.assert_allclose(entropy(p), [[0.0, math.log(2)]], atol=1e-7)


def test_noise_is_gaussian_clipped_and_reproducible():
    images = torch.zeros(1, 1, 40, 40, 40)
    first = noisy(images, generator(3), std=0.1, bound=0.2)
    assert torch.equal(first, noisy(images, generator(3), std=0.1, bound=0.2))
    source = generator(3)
    noisy(images, source, std=0.1, bound=0.2)
    assert not torch.equal(first, noisy(images, source, std=0.1, bound=0.2))
    assert first.abs().max() == pytest.approx(0.2)
    expected = np.clip(np.random.default_rng(0).normal(0, 0.1, 64000), -0.2, 0.2).std()
    assert float(first.std()) == pytest.approx(expected, rel=0.02)
    assert not images.any()


def test_noise_keeps_the_dtype():
    assert noisy(torch.zeros(3).half(), generator(), std=1, bound=2).dtype == torch.half


def test_ask_equals_an_explicit_loop():
    torch.manual_seed(0)
    teacher = nn.Sequential(nn.Conv3d(1, 2, 3, padding=1), nn.Hardtanh(-3, 3)).requires_grad_(True)
    images = torch.rand(2, 1, 5, 4, 6, generator=generator())
    answer = ask(teacher, images, generator(7), passes=3, std=0.5, bound=0.7)
    again = generator(7)
    said = []
    for _ in range(4):
        noise = (torch.randn(images.shape, generator=again) * 0.5).clamp(-0.7, 0.7)
        logits = teacher(images + noise).detach().double().numpy()
        said.append(np.exp(logits) / np.exp(logits).sum(1, keepdims=True))
    np.testing.assert_allclose(answer.target, said[0], atol=1e-6)
    mean = (said[1] + said[2] + said[3]) / 3
    np.testing.assert_allclose(answer.uncertainty, scipy.stats.entropy(mean, axis=1), atol=1e-6)
    assert not answer.target.requires_grad
    assert not answer.uncertainty.requires_grad
    with pytest.raises(ValueError, match="0 passes"):
        ask(teacher, images, generator(), passes=0)


@given(step=st.integers(0, 200), steps=st.integers(1, 100))
def test_ramp_rises_and_ends_at_one(step, steps):
    assert ramp_up(step, steps) <= ramp_up(step + 1, steps)
    low, high = 0.75 * math.log(2), math.log(2)
    assert low < uncertainty_threshold(step, steps) <= high
    if step >= steps:
        assert ramp_up(step, steps) == 1
        assert uncertainty_threshold(step, steps) == high
        assert consistency_weight(step, steps) == 0.1


def test_ramp_at_the_start_and_half_way():
    assert ramp_up(0, 10) == pytest.approx(0.006737947)
    assert ramp_up(5, 10) == pytest.approx(math.exp(-1.25))
    assert consistency_weight(5, 10, coefficient=2) == pytest.approx(2 * math.exp(-1.25))
    with pytest.raises(ValueError, match="step -1"):
        ramp_up(-1, 10)


def test_consistency_equals_an_explicit_loop():
    logits = torch.randn(2, 2, 3, 4, 5, generator=generator(1), requires_grad=True)
    target = torch.randn(2, 2, 3, 4, 5, generator=generator(2)).softmax(1)
    certain = torch.rand(2, 3, 4, 5, generator=generator(3)) < 0.4
    p = logits.detach().softmax(1)
    total = [
        float(((p[c, :, i, j, k] - target[c, :, i, j, k]) ** 2).sum()) / 2
        for c, i, j, k in torch.nonzero(certain).tolist()
    ]
    loss = consistency_loss(logits, target, certain)
    assert loss.item() == pytest.approx(sum(total) / len(total), rel=1e-5)
    loss.backward()
    moved = (logits.grad != 0).any(1)
    assert torch.equal(moved, certain)


def test_consistency_where_nothing_is_certain_is_a_differentiable_zero():
    logits = torch.randn(1, 2, 4, requires_grad=True)
    loss = consistency_loss(logits, torch.rand(1, 2, 4), torch.zeros(1, 4, dtype=torch.bool))
    loss.backward()
    assert loss.item() == 0
    assert not logits.grad.any()


def test_consistency_refuses_other_shapes():
    with pytest.raises(ValueError, match="disagree"):
        consistency_loss(torch.rand(1, 2, 4), torch.rand(1, 2, 4), torch.ones(1, 5).bool())
