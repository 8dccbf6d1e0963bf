"""Activation checkpointing runs parts of the model again during the backward pass."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from reweight import GradientSimilarity, MetaReweighter
from tests.comparing import assert_same

LOSS = nn.CrossEntropyLoss(reduction="none")


class Model(nn.Module):
    def __init__(self, checkpointed: bool) -> None:
        super().__init__()
        self.first, self.norm = nn.Linear(6, 8), nn.BatchNorm1d(8)
        self.second = nn.Linear(8, 3)
        self.checkpointed = checkpointed

    def body(self, x):
        return torch.tanh(self.norm(self.first(x)))

    def forward(self, x):
        if self.checkpointed:
            return self.second(checkpoint(self.body, x, use_reentrant=False))
        return self.second(self.body(x))


@pytest.fixture
def batches():
    torch.manual_seed(5)
    return [(torch.randn(5, 6).double(), torch.randint(3, (5,))) for _ in range(2)]


def trained(checkpointed, batch):
    torch.manual_seed(0)
    model = Model(checkpointed).double()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for _ in range(2):
        optimizer.zero_grad()
        LOSS(model(batch[0]), batch[1]).mean().backward()
        optimizer.step()
    model.load_state_dict({**model.state_dict(), "norm.num_batches_tracked": torch.tensor(2)})
    return model, optimizer


@pytest.mark.parametrize("method", ["forward", "double_backward", "finite_difference", "unrolled"])
def test_scores_are_those_of_the_model_without_it(method, batches):
    found = []
    for checkpointed in (True, False):
        model, optimizer = trained(checkpointed, batches[0])
        model.norm.reset_running_stats()
        scorer = GradientSimilarity(method, lookahead=optimizer)
        step = MetaReweighter(model, LOSS, scorer=scorer).score(*batches)
        found.append(step.scores["gradient_similarity"])
    assert_same(*found, 1e-9)


def test_scoring_moves_no_running_statistic(batches):
    model, _ = trained(True, batches[0])
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    MetaReweighter(model, LOSS).score(*batches)
    assert all(torch.equal(buffer, before[name]) for name, buffer in model.named_buffers())


def test_a_step_moves_them_as_plain_training_does(batches):
    model, _ = trained(True, batches[0])
    plain, _ = trained(True, batches[0])
    MetaReweighter(model, LOSS)(*batches).loss.backward()
    LOSS(plain(batches[0][0]), batches[0][1]).mean().backward()
    for (name, buffer), other in zip(model.named_buffers(), plain.buffers(), strict=True):
        assert torch.equal(buffer, other), name


class Parts(nn.Module):
    """Parameters inside checkpoints: behind others, or behind nothing that is trained."""

    def __init__(self, inside: str, reentrant: bool) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 3)
        self.inside, self.reentrant = inside, reentrant

    def body(self, x):
        return self.c(nn.functional.dropout(torch.tanh(self.b(torch.tanh(self.a(x)))), 0.3))

    def again(self, part, x):
        return checkpoint(part, x, use_reentrant=True) if self.reentrant else part(x)

    def forward(self, x):
        if self.inside == "the first layer":
            x = x.clone().requires_grad_()  # else the reentrant kind gives it no gradient
            return self.c(torch.tanh(self.b(torch.tanh(self.again(self.a, x)))))
        if self.inside == "the last layers":
            return self.again(lambda h: self.c(torch.tanh(self.b(h))), self.a(x))
        return self.again(self.body, x.clone().requires_grad_())


@pytest.mark.parametrize("inside", ["the first layer", "the last layers", "everything"])
def test_the_reentrant_kind_hides_no_parameters_from_scores(batches, inside):
    """torch.autograd.grad refuses it, or gives the parameters inside no gradient at all."""
    steps, gradients = [], []
    for reentrant in (True, False):
        torch.manual_seed(0)
        model = Parts(inside, reentrant).double()
        reweighter = MetaReweighter(model, LOSS, trusted_coefficient=0.5)
        for _ in range(3):
            torch.manual_seed(1)
            model.zero_grad()
            step = reweighter(*batches)
            step.loss.backward()
            steps.append((reentrant, step.scores | {"loss": step.loss.detach()}))
        gradients.append([p.grad for p in model.parameters()])
    plain = next(scores for reentrant, scores in steps if not reentrant)
    for _, scores in steps:
        for name, values in scores.items():
            assert_same(values, plain[name], 1e-9)
    for one, other in zip(*gradients, strict=True):
        assert_same(one, other, 1e-9)


def test_the_reentrant_kind_is_itself_again_after_a_step_that_fails(batches):
    kind = torch.utils.checkpoint.CheckpointFunction

    def fails(model, batch):
        model(batch[0])
        raise KeyError("the user's")

    with pytest.raises(KeyError):
        MetaReweighter(Parts("everything", reentrant=True).double(), forward=fails)(*batches)
    assert torch.utils.checkpoint.CheckpointFunction is kind
