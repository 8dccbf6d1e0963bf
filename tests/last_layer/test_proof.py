"""The graph's proof that samples are not coupled holds for no loss that couples them."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from reweight._last_layer.rows_alone import operators_behind
from reweight._last_layer.trace import trace_last_layer

C = 4  # as many samples as classes and positions, so that shapes tell nothing apart
TARGET = torch.tensor([0, 3, 1, 2])
WEIGHTS = torch.tensor([0.5, 1.0, 2.0, 0.3])


def ce(z, **options):
    return F.cross_entropy(z, TARGET, reduction="none", **options)


COUPLED = {
    "transposed logits": lambda z: ce(z.t()),
    "a softmax over the batch": lambda z: z.softmax(0).sum(1),
    "a sum over the batch": lambda z: z.square().sum(0),
    "a mean over the batch, negative dimension": lambda z: z.square().mean(-2),
    "the batch's own similarity": lambda z: ce(z @ z.t()),
    "losses broadcast against losses": lambda z: (z.sum(1) * z.sum(1)[:, None]).mean(1),
    "a number of each sample beside a row": lambda z: (z - z[:, 0]).square().mean(1),
    "one sample for all": lambda z: (z - z.select(0, 0)).square().mean(1),
    "neighbours": lambda z: (z - z.roll(1, 0)).square().sum(1),
    "another order": lambda z: ce(z[torch.tensor([1, 0, 3, 2])]),
    "a batch's mean subtracted": lambda z: ce(z - z.mean()),
    "a hinge between neighbours": lambda z: ce(z) + F.relu(z[:, 0] - z[:, 0].flip(0) - 100),
    "permuted twice, reshaped between": lambda z: ce(z.t().reshape(2, 8).reshape(4, 4)),
    "a transpose of a cube": lambda z: (z[:, :, None] * z[:, None]).transpose(0, 2).sum((1, 2)),
    "a permuted cube": lambda z: (z[:, :, None] * z[:, None]).permute(-1, 1, 0).sum((1, 2)),
    "gathered over the batch": lambda z: z.gather(0, TARGET[:, None].expand(4, 4)).sum(1),
    "a cumulative sum over the batch": lambda z: z.cumsum(0).sum(1),
    "batch normalisation": lambda z: ce(F.batch_norm(z, None, None, training=True)),
    "a slice of two batches": lambda z: ce(torch.cat([z, z])[2:6]),
    "rows of the first samples": lambda z: (
        z.reshape(8, 2).gather(1, TARGET[:, None] % 2).squeeze(1)
    ),
    "a product from the left": lambda z: ce(torch.ones(4, 4) @ z),
    "a layer of samples": lambda z: ce(F.linear(torch.ones(4, 4), z, WEIGHTS)),
    "an affine map's shift": lambda z: ce(torch.addmm(z, torch.ones(4, 4), torch.eye(4))),
    "normalised over the batch": lambda z: ce(F.layer_norm(z, (4, 4))),
    "attention between samples": lambda z: ce(
        F.scaled_dot_product_attention(*[z.view(1, 1, 4, 4)] * 3).view(4, 4)
    ),
    "a mask made of samples": lambda z: ce(
        F.scaled_dot_product_attention(*[torch.ones(4, 1, 4, 4)] * 3, attn_mask=z).sum(-1)[:, 0]
    ),
    "a repeated batch": lambda z: z.repeat(2, 1).reshape(4, 8).sum(1),
}
APART = {
    "cross-entropy": ce,
    "class weights": lambda z: ce(z, weight=WEIGHTS),
    "label smoothing": lambda z: ce(z, label_smoothing=0.1),
    "scaled": lambda z: ce(z / 3 * 1.7),
    "squared error": lambda z: F.mse_loss(z, torch.ones(4, 4), reduction="none").mean(1),
    "binary": lambda z: (
        F.binary_cross_entropy_with_logits(z, torch.ones(4, 4), reduction="none").flatten(1).mean(1)
    ),
    "a hinge": lambda z: F.relu(1 - z.gather(1, TARGET[:, None])).squeeze(1),
    "a row's own mean subtracted": lambda z: ce(z - z.mean(1, keepdim=True)),
    "probabilities": lambda z: F.cross_entropy(z, torch.full((4, 4), 0.25), reduction="none"),
    "a frozen layer": lambda z: ce(F.linear(z, torch.ones(4, 4))),
    "a frozen layer with a shift": lambda z: ce(F.linear(z, torch.ones(4, 4), WEIGHTS)),
    "products of each": lambda z: ce(torch.bmm(z[:, :, None], z[:, None]).mean(2)),
    "normalised rows": lambda z: ce(F.layer_norm(z, (4,), WEIGHTS)),
    "attention in each": lambda z: ce(
        F.scaled_dot_product_attention(*[z.reshape(4, 1, 2, 2)] * 3).reshape(4, 4)
    ),
    "a way around that couples others": lambda z: ce(
        z + torch.ones(4, 4, requires_grad=True).cumsum(0)
    ),
    "Huber": lambda z: F.smooth_l1_loss(z[:, 0], torch.zeros(4), reduction="none"),
}


def behind(layer, inputs, loss):
    model = nn.Sequential(layer)
    with trace_last_layer(model) as trace:
        z = model(inputs)
    return operators_behind(loss(z), trace)


@pytest.mark.parametrize("kind", COUPLED)
def test_what_couples_is_not_proven_apart(kind):
    assert not behind(nn.Linear(3, 4), torch.randn(C, 3), COUPLED[kind]).proven


@pytest.mark.parametrize("kind", APART)
def test_ordinary_losses_are_proven_apart(kind):
    assert behind(nn.Linear(3, 4), torch.randn(C, 3), APART[kind]).proven


@pytest.mark.parametrize(
    "kind", ["attention between samples", "a mask made of samples", "attention in each"]
)
def test_attention_by_single_operators_is_proven_apart_where_it_is(kind):
    with sdpa_kernel(SDPBackend.MATH):
        found = behind(nn.Linear(3, 4), torch.randn(C, 3), {**COUPLED, **APART}[kind])
    assert "SoftmaxBackward0" in found.names
    assert found.proven == (kind in APART)


@pytest.mark.parametrize("kind", [*COUPLED, *APART])
def test_a_proof_agrees_with_the_jacobian(kind):
    """∂L_i/∂z_j, from one backward pass a loss: a proof must find no sample in another's row."""
    loss = {**COUPLED, **APART}[kind]
    z = torch.randn(C, 4, requires_grad=True)
    with sdpa_kernel(SDPBackend.MATH):  # the backward pass of a fused kernel may ask for alignment
        jacobian = torch.autograd.functional.jacobian(loss, z).abs().sum(-1)
    reached = (jacobian - jacobian.diagonal().diag()).any()
    if behind(nn.Linear(3, 4), torch.randn(C, 3), loss).proven:
        assert not reached


def test_sequences_are_proven_apart_shifted_or_flattened():
    words, head = torch.randint(5, (C, 6)), nn.Linear(3, 5)

    def shifted(z):
        found = F.cross_entropy(z[:, :-1].transpose(1, 2), words[:, 1:], reduction="none")
        return found.flatten(1).mean(1)

    def flattened(z):
        found = F.cross_entropy(z.reshape(-1, 5), words.reshape(-1), reduction="none")
        return found.reshape(C, -1).mean(1)

    for loss in (shifted, flattened):
        assert behind(head, torch.randn(C, 6, 3), loss).proven
    # In time order the positions of a sample lie apart.
    assert not behind(head, torch.randn(C, 6, 3), lambda z: flattened(z.transpose(0, 1))).proven


def test_segmentation_maps_are_proven_apart():
    mask = torch.randint(2, (C, 5, 5))

    def loss(z):
        return F.cross_entropy(z, mask, reduction="none").flatten(1).mean(1)

    assert behind(nn.Conv2d(1, 2, 3, padding=1), torch.randn(C, 1, 5, 5), loss).proven


def test_a_long_graph_is_left_to_the_test():
    def loss(z):
        for _ in range(300):
            z = z * 1.01
        return ce(z)

    assert not behind(nn.Linear(3, 4), torch.randn(C, 3), loss).proven
