"""Graphs that outlive their pass run no part of the model again."""

from __future__ import annotations

import threading

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from reweight import MetaReweighter
from reweight._isolation.checkpoints import without_checkpoints
from tests.device import autocast

CE = nn.CrossEntropyLoss(reduction="none")


class Attention(nn.Module):
    """Keys are frozen: in a pass for the last layer alone fewer tensors are kept than later."""

    def __init__(self):
        super().__init__()
        self.q, self.k = nn.Linear(8, 8), nn.Linear(8, 8).requires_grad_(False)

    def forward(self, x):
        k = self.k(x).unsqueeze(1)
        q = self.q(x).unsqueeze(1)
        return nn.functional.scaled_dot_product_attention(q, k, k).squeeze(1)


class Adapted(nn.Module):
    """The last trained layer is within a part that is checkpointed; autocast is entered inside."""

    def __init__(self, kind):
        super().__init__()
        self.first, self.attention = nn.Linear(8, 8), Attention()
        self.head = nn.Linear(8, 3).requires_grad_(False)
        self.kind = kind

    def forward(self, x):
        with autocast():
            x = self.first(x)
            if self.kind is None:
                x = self.attention(x)
            else:
                x = checkpoint(self.attention, x, use_reentrant=self.kind)
            return self.head(x.mean(1)).float()


def steps(kind):
    torch.manual_seed(0)
    model = Adapted(kind)
    reweighter = MetaReweighter(model, CE)
    x, y = torch.randn(6, 5, 8), torch.randint(0, 3, (6,))
    found = []
    for _ in range(3):
        step = reweighter((x, y), (x[:3] + 1, y[:3]))
        model.zero_grad()
        step.loss.backward()
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        found.append({**step.scores, **dict(enumerate(gradients))})
    assert reweighter.check((x, y), (x[:3] + 1, y[:3])).ok
    return found


@pytest.mark.parametrize("kind", [False, True], ids=["newer", "reentrant"])
def test_a_checkpointed_part_that_holds_the_last_layer_costs_no_score(kind):
    for own, plain in zip(steps(kind), steps(None), strict=True):
        assert own.keys() == plain.keys()
        for name, expected in plain.items():
            torch.testing.assert_close(own[name], expected, rtol=1e-4, atol=1e-6)


def test_other_threads_go_on_checkpointing():
    runs = []

    def part(x):
        runs.append(threading.current_thread().name)
        return x.sin()

    def train():
        x = torch.randn(3, requires_grad=True)
        checkpoint(part, x, use_reentrant=False).sum().backward()

    with without_checkpoints():
        other = threading.Thread(target=train, name="other")
        other.start()
        other.join()
        train()
    assert runs.count("other") == 2
    assert len(runs) == 3
