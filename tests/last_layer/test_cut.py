"""The training pass goes on from what last-layer scores were taken from, and gives the same."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from reweight import LastLayerGradient, MetaReweighter

C, T, D, V = 4, 3, 5, 7
SETTLED = 4  # steps after which a graph that is proved is trusted
WEIGHTS = torch.tensor([0.1, 0.0, 0.6, 0.3], dtype=torch.float64)


class Words(nn.Module):
    """A language model whose head is its embedding; ``after`` changes what the head returns."""

    def __init__(self, after=lambda z, *_: z):
        super().__init__()
        self.words, self.body = nn.Embedding(V, D), nn.Linear(D, D)
        self.head = nn.Linear(D, V, bias=False)
        self.head.weight = self.words.weight
        self.heat = nn.Parameter(torch.tensor(1.3))
        self.after = after

    def forward(self, x):
        hidden = self.body(self.words(x)).tanh()
        return self.after(self.head(hidden), hidden, self)


def token_losses(logits, labels):
    flat = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none")
    return flat.view_as(labels)


def problem(after=lambda z, *_: z, **options):
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = Words(after).double()
        batch = torch.randint(0, V, (C, T)), torch.randint(0, V, (C, T))
    options.setdefault("weighting", lambda _: WEIGHTS)
    options.setdefault("scorer", LastLayerGradient())
    return model, batch, MetaReweighter(model, token_losses, **options)


def settled(batch, reweighter):
    for _ in range(SETTLED):
        step = reweighter(batch)
    return step


def is_cut(step):
    return "_WeightedLoss" in step.loss.grad_fn.name()


def losses_of(model, batch):
    return token_losses(model(batch[0]), batch[1]).mean(1)


def gradients(loss, model, **options):
    found = torch.autograd.grad(loss, list(model.parameters()), allow_unused=True, **options)
    return [torch.zeros_like(p) if g is None else g for g, p in zip(found, model.parameters())]  # noqa: B905


def same(found, expected):
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-13)


def test_a_step_gives_the_weighted_gradient():
    model, batch, reweighter = problem()
    step = settled(batch, reweighter)
    assert is_cut(step)
    expected = (step.weights * losses_of(model, batch)).sum()
    torch.testing.assert_close(step.loss, expected)
    same(gradients(step.loss, model), gradients(expected, model))


def test_scores_are_those_of_steps_before():
    _, batch, reweighter = problem()
    first = reweighter(batch)
    assert not is_cut(first)
    last = settled(batch, reweighter)
    assert is_cut(last)
    assert last.scores.keys() == first.scores.keys()
    for name, scores in last.scores.items():
        torch.testing.assert_close(scores, first.scores[name], rtol=1e-10, atol=0)


@given(st.lists(st.floats(0, 1e6), min_size=C, max_size=C), st.floats(-1e4, 1e4))
def test_any_weights_and_any_factor_of_the_loss(values, factor):
    weights = torch.tensor(values, dtype=torch.float64)
    model, batch, reweighter = problem(weighting=lambda _: weights)
    step = settled(batch, reweighter)
    assert is_cut(step)
    expected = gradients(factor * (step.weights * losses_of(model, batch)).sum(), model)
    found = gradients(factor * step.loss, model)
    for one, other in zip(found, expected, strict=True):
        assert (one - other).abs().max() <= 1e-10 * other.abs().max() + 1e-300


def test_it_can_be_asked_twice_where_the_graph_is_kept_and_else_not():
    model, batch, reweighter = problem()
    step = settled(batch, reweighter)
    first = gradients(step.loss, model, retain_graph=True)
    first = [g.clone() for g in first]
    same(gradients(2 * step.loss, model, retain_graph=True), [2 * g for g in first])
    same(gradients(step.loss, model), first)
    with pytest.raises(RuntimeError, match="second time"):
        gradients(step.loss, model)


def test_second_derivatives_are_those_of_the_losses():
    model, batch, reweighter = problem()
    step = settled(batch, reweighter)
    assert is_cut(step)
    plain = (step.weights * losses_of(model, batch)).sum()

    def penalty(loss):
        return sum(g.square().sum() for g in gradients(loss, model, create_graph=True))

    same(gradients(penalty(step.loss), model), gradients(penalty(plain), model))


def test_what_else_hangs_on_the_output_is_added():
    model, batch, reweighter = problem()
    kept = []
    model.after = lambda z, *_: (kept.append(z), z)[1]
    step = settled(batch, reweighter)
    assert is_cut(step)
    loss = step.loss + kept[-1].square().mean()
    logits = model(batch[0])
    plain = (step.weights * token_losses(logits, batch[1]).mean(1)).sum() + logits.square().mean()
    same(gradients(loss, model), gradients(plain, model))


def test_an_activation_in_place_after_the_layer():
    model, batch, reweighter = problem()
    model.after = lambda z, *_: F.leaky_relu_(z, 0.1)
    step = settled(batch, reweighter)
    expected = (step.weights * losses_of(model, batch)).sum()
    same(gradients(step.loss, model), gradients(expected, model))


@pytest.mark.parametrize(
    "after",
    [
        lambda z, _, model: z * model.heat,
        lambda z, hidden, _: z + F.pad(hidden, (0, V - D)),
        lambda z, *_: z.flip(0),
    ],
    ids=["a parameter behind it", "a way around it", "samples exchanged"],
)
def test_what_does_not_go_through_the_layer_alone_is_not_cut(after):
    model, batch, reweighter = problem(after, scorer=LastLayerGradient("head"))
    step = settled(batch, reweighter)
    assert not is_cut(step)
    expected = (step.weights * losses_of(model, batch)).sum()
    same(gradients(step.loss, model), gradients(expected, model))


@pytest.mark.parametrize("kind", ["hook", "retain_grad", "hook on a result"])
def test_who_asks_for_the_gradient_behind_the_layer_gets_it(kind):
    seen, kept = [], []

    def after(z, *_):
        if z.requires_grad:
            z = 2 * z if kind == "hook on a result" else z
            if kind == "retain_grad":
                z.retain_grad()
            else:
                z.register_hook(seen.append)
            kept.append(z)
        return z

    _, batch, reweighter = problem(after)
    step = settled(batch, reweighter)
    assert not is_cut(step)
    seen.clear()
    for z in kept:
        z.grad = None
    step.loss.backward()
    found = seen[-1] if seen else next(z.grad for z in kept if z.grad is not None)
    logits = kept[-1].detach().requires_grad_()
    (step.weights * token_losses(logits, batch[1]).mean(1)).sum().backward()
    torch.testing.assert_close(found, logits.grad, rtol=1e-10, atol=1e-13)


def test_training_is_that_of_a_reweighter_that_cuts_nothing():
    model, batch, reweighter = problem()
    other, _, plain = problem()
    other.load_state_dict(model.state_dict())
    for one, r in ((model, reweighter), (other, plain)):
        optimizer = torch.optim.SGD(one.parameters(), lr=0.5, momentum=0.9)
        for _ in range(10):
            optimizer.zero_grad()
            step = r(batch)
            loss = (step.weights * losses_of(one, batch)).sum() if r is plain else step.loss
            loss.backward()
            optimizer.step()
    same(list(model.parameters()), list(other.parameters()))


def test_a_copied_reweighter_cuts_in_its_own_model():
    model, batch, reweighter = problem(weighting=_fixed)
    settled(batch, reweighter)
    twin = copy.deepcopy(reweighter)
    step = twin(batch)
    assert is_cut(step)
    step.loss.backward()
    assert all(p.grad is None for p in model.parameters())
    expected = (step.weights * losses_of(twin.model, batch)).sum()
    found = [p.grad for n, p in twin.model.named_parameters() if n != "heat"]
    rest = [p for n, p in twin.model.named_parameters() if n != "heat"]
    same(found, torch.autograd.grad(expected, rest))


def _fixed(scores):  # noqa: ARG001
    return WEIGHTS
