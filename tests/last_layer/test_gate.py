"""Where the last layer has others beside it, the training pass goes on behind them all."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from reweight import LastLayerGradient, MetaReweighter
from tests.last_layer.test_cut import WEIGHTS, C, D, T, is_cut, same, settled

V = 7
CE = nn.CrossEntropyLoss(reduction="none")


class Block(nn.Module):
    """A frozen layer and an adapter beside it, around which a residual leads."""

    def __init__(self):
        super().__init__()
        self.base, self.adapter = nn.Linear(D, D), nn.Linear(D, D)

    def forward(self, x):
        return x + torch.tanh(self.base(x) + self.adapter(x))


class Adapted(nn.Module):
    """Frozen but for the adapters; ``after`` changes what the head returns."""

    def __init__(self, after):
        super().__init__()
        self.blocks = nn.Sequential(Block(), Block())
        self.norm, self.head = nn.LayerNorm(D), nn.Linear(D, V)
        self.shift = nn.Parameter(torch.zeros(V))
        for name, p in self.named_parameters():
            p.requires_grad_("adapter" in name or name == "shift")
        self.after = after

    def forward(self, x):
        hidden = self.blocks(x)
        return self.after(self.head(self.norm(hidden)), hidden, self)


def token_losses(logits, labels):
    return CE(logits.flatten(0, 1), labels.flatten()).view_as(labels)


def problem(after=lambda z, *_: z):
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = Adapted(after).double()
        batch = torch.randn(C, T, D, dtype=torch.float64), torch.randint(0, V, (C, T))
    reweighter = MetaReweighter(
        model, token_losses, scorer=LastLayerGradient(), weighting=lambda _: WEIGHTS
    )
    return model, batch, reweighter


def learnt(loss, model, **options):
    parameters = [p for p in model.parameters() if p.requires_grad]
    found = torch.autograd.grad(loss, parameters, allow_unused=True, **options)
    return [torch.zeros_like(p) if g is None else g for g, p in zip(found, parameters)]  # noqa: B905


def expected(model, batch, weights):
    return (weights * token_losses(model(batch[0]), batch[1]).mean(1)).sum()


def test_a_step_gives_the_weighted_gradient_of_every_adapter():
    model, batch, reweighter = problem()
    first = reweighter(batch)
    step = settled(batch, reweighter)
    assert not is_cut(first)
    assert is_cut(step)
    plain = expected(model, batch, step.weights)
    torch.testing.assert_close(step.loss, plain)
    same(learnt(step.loss, model), learnt(plain, model))
    for name, scores in step.scores.items():
        torch.testing.assert_close(scores, first.scores[name], rtol=1e-10, atol=0)


def test_the_head_is_gone_back_through_once():
    _, batch, reweighter = problem()
    step = settled(batch, reweighter)
    names, open_nodes = set(), [step.loss.grad_fn]
    while open_nodes:
        node = open_nodes.pop()
        names.add(node.name())
        open_nodes += [behind for behind, _ in node.next_functions if behind is not None]
    assert "TanhBackward0" in names
    assert not {"NllLossBackward0", "LogSoftmaxBackward0"} & names


@pytest.mark.parametrize(
    ("after", "cut"),
    [
        (lambda z, _, model: z + model.shift, True),
        (lambda z, hidden, _: z + hidden.sum(-1, keepdim=True), True),
        (lambda z, *_: z.flip(0), False),
        (lambda z, *_: z.relu(), True),
        (lambda z, *_: z.relu_(), False),
    ],
    ids=[
        "a parameter behind it",
        "a way around the head",
        "samples exchanged",
        "behind it",
        "in place",
    ],
)
def test_the_gradient_is_right_whatever_the_head_does(after, cut):
    model, batch, reweighter = problem(after)
    step = settled(batch, reweighter)
    assert is_cut(step) == cut
    plain = expected(model, batch, step.weights)
    same(learnt(step.loss, model), learnt(plain, model))


def test_a_way_around_that_opens_later_is_seen():
    """In a graph of the same operators, too: the place is looked at anew in every step."""
    model, batch, reweighter = problem()
    kept = {}

    def after(z, hidden, model):
        first = kept.get("around", False)
        source = model.blocks[0](batch[0]) if first else hidden
        return z + source.sum(-1, keepdim=True)

    model.after = after
    settled(batch, reweighter)
    kept["around"] = True
    for _ in range(4):
        step = reweighter(batch)
        plain = expected(model, batch, step.weights)
        same(learnt(step.loss, model), learnt(plain, model))


def test_second_derivatives_are_those_of_the_losses():
    model, batch, reweighter = problem()
    step = settled(batch, reweighter)
    assert is_cut(step)

    def penalty(loss):
        return sum(g.square().sum() for g in learnt(loss, model, create_graph=True))

    plain = expected(model, batch, step.weights)
    same(learnt(penalty(step.loss), model), learnt(penalty(plain), model))


def test_training_goes_on_from_a_state():
    model, batch, reweighter = problem()
    settled(batch, reweighter)
    other, _, resumed = problem()
    resumed.load_state_dict(reweighter.state_dict())
    one, two = reweighter(batch), resumed(batch)
    assert is_cut(one)
    assert is_cut(two)
    same(learnt(one.loss, model), learnt(two.loss, other))
