from __future__ import annotations

import pytest
import torch
from torch import nn

from benchmarks.label_noise.methods import METHODS
from benchmarks.label_noise.network import build_network
from benchmarks.label_noise.report.looks import LOOKS

cross_entropy = nn.functional.cross_entropy


@pytest.fixture
def setting():
    model = build_network(9, 9, 3, seed=0, purpose="test")
    inputs, labels = torch.randn(12, 1, 9, 9), torch.randint(0, 3, (12,))
    return model, (inputs[:8], labels[:8]), (inputs[8:], labels[8:])


def gradients(model, loss):
    return torch.autograd.grad(loss, list(model.parameters()))


def step(name, setting):
    model, noisy, trusted = setting
    method = METHODS[name]
    return method.build(model, 0)(noisy, trusted if method.needs_trusted else None)


def per_sample(model, batch):
    losses = cross_entropy(model(batch[0]), batch[1], reduction="none")
    return torch.stack(
        [
            torch.cat(
                [
                    g.flatten()
                    for g in torch.autograd.grad(loss, list(model.parameters()), retain_graph=True)
                ]
            )
            for loss in losses
        ]
    )


def test_every_method_has_a_look():
    assert set(LOOKS) == set(METHODS)


def test_mixed_is_both_mean_losses(setting):
    model, noisy, trusted = setting
    ours = gradients(model, step("mixed", setting).loss)
    by_hand = sum(cross_entropy(model(x), y) for x, y in (noisy, trusted))
    torch.testing.assert_close(ours, gradients(model, by_hand))
    without = gradients(model, cross_entropy(model(noisy[0]), noisy[1]))
    assert not torch.allclose(ours[-1], without[-1], atol=1e-3)


def test_rgs_all_is_the_normalised_product_of_gradients(setting):
    model, noisy, trusted = setting
    products = per_sample(model, noisy) @ per_sample(model, trusted).mean(0)
    expected = products.clamp(min=0) / products.clamp(min=0).sum()
    torch.testing.assert_close(step("rgs-all", setting).weights, expected.detach())


def test_rgm_all_is_the_normalised_norm_of_the_last_layer(setting):
    model, noisy, _ = setting
    last = sum(p.numel() for p in model[-1].parameters())
    norms = per_sample(model, noisy)[:, -last:].norm(dim=1)
    torch.testing.assert_close(step("rgm-all", setting).weights, norms / norms.sum())


@pytest.mark.parametrize(
    ("name", "similarity"), [("rgsm-0.25", 0.25), ("rgsm", 0.5), ("rgsm-0.75", 0.75), ("rgs", 1)]
)
def test_shares_of_the_mixture_and_rectification(setting, name, similarity):
    parts = step("rgs-all", setting).weights, step("rgm-all", setting).weights
    mixed = similarity * parts[0] + (1 - similarity) * parts[1]
    expected = torch.where(mixed >= 1 / 8, mixed, torch.zeros(8))
    torch.testing.assert_close(step(name, setting).weights, expected)


@pytest.mark.parametrize(
    ("name", "without"),
    [
        ("rgs-all+trusted", "rgs-all"),
        ("rgsm+trusted", "rgsm"),
        ("rgsm-all+trusted", "rgsm-all"),
    ],
)
def test_the_trusted_term_is_added(setting, name, without):
    model, _, trusted = setting
    loss = step(without, setting).loss + cross_entropy(model(trusted[0]), trusted[1])
    torch.testing.assert_close(gradients(model, step(name, setting).loss), gradients(model, loss))


def test_random_weights_depend_on_the_seed(setting):
    model, noisy, _ = setting
    weights = [METHODS["random"].build(model, seed)(noisy).weights for seed in (0, 0, 1)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
