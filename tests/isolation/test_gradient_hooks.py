"""Hooks that change gradients are honoured alike in both halves of a score."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reweight import GradientSimilarity, LastLayerGradient, MetaReweighter
from tests.comparing import assert_same
from tests.compatibility.marks import rows
from tests.oracle import flat
from tests.problems import float64

METHODS = ("auto", "double_backward", "per_sample")


class Hooked(nn.Module):
    """Two heads; the gradient of one is changed on its way, as ``how`` says."""

    def __init__(self, how: str, change: Callable[[Tensor], Tensor | None]) -> None:
        super().__init__()
        self.features, self.classes, self.domains = (
            nn.Linear(6, 8),
            nn.Linear(8, 3),
            nn.Linear(8, 2),
        )
        self.middle, self.how, self.change = nn.Identity(), how, change
        if how == "full backward hook":
            self.middle.register_full_backward_hook(
                lambda _m, given, _out: None if change(given[0]) is None else (change(given[0]),)
            )
        elif how == "full backward pre-hook":
            self.middle.register_full_backward_pre_hook(
                lambda _m, out: None if change(out[0]) is None else (change(out[0]),)
            )
        elif how == "parameter":
            self.features.weight.register_hook(change)
        elif how == "shared parameter":
            self.again = self.features
            self.features.bias.register_hook(change)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = torch.tanh(self.features(x))
        r = self.middle(h.view_as(h))
        if self.how == "activation" and r.requires_grad:
            r.register_hook(self.change)
        if self.how == "node" and r.requires_grad:
            r.grad_fn.register_prehook(
                lambda out: None if self.change(out[0]) is None else (self.change(out[0]),)
            )
        return self.classes(h), self.domains(r)


def losses(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    classes, domains = model(batch[0])
    return F.cross_entropy(classes, batch[1], reduction="none") + F.cross_entropy(
        domains, batch[1] % 2, reduction="none"
    )


def reference(model: nn.Module, noisy: Any, trusted: Any) -> Tensor:
    """By .backward(), so that every hook has its say as in training."""
    parameters = [p for p in model.parameters() if p.requires_grad]

    def gradient(loss: Tensor) -> Tensor:
        for p in parameters:
            p.grad = None
        loss.backward()
        found = flat([torch.zeros_like(p) if p.grad is None else p.grad for p in parameters])
        for p in parameters:
            p.grad = None
        return found

    v = gradient(losses(model, trusted).mean())
    return torch.stack([gradient(losses(model, noisy)[i]) for i in range(len(noisy[0]))]) @ v


CHANGES: dict[str, Callable[[Tensor], Tensor | None]] = {
    "reversed": lambda g: -g,
    "masked": lambda g: g * (torch.arange(g.numel(), device=g.device).reshape(g.shape) % 3 > 0),
    "clipped": lambda g: g.clamp(-1e-3, 1e-3),
    "stopped": torch.zeros_like,
    "noted": lambda _g: None,
}
WAYS = (
    *("activation", "full backward hook", "full backward pre-hook"),
    *("parameter", "shared parameter", "node"),
)


HONOURED = ("exact", "one backward pass a sample where it changes the gradient")
ABOUT = {
    "activation": ("Tensor.register_hook on an activation", *HONOURED),
    "node": ("Node.register_prehook on an activation's grad_fn", *HONOURED),
    "full backward hook": ("Module.register_full_backward_hook", *HONOURED),
    "full backward pre-hook": ("Module.register_full_backward_pre_hook", *HONOURED),
    "parameter": ("Tensor.register_hook on a parameter", *HONOURED),
    "shared parameter": ("Tensor.register_hook on a parameter", *HONOURED),
}


@pytest.mark.filterwarnings("ignore:GradientSimilarity")
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("how", rows("hook", WAYS, ABOUT))
def test_scores_are_those_of_backward_passes(how, change, training):
    with float64():
        model = Hooked(how, CHANGES[change])
        noisy, trusted = ((torch.randn(n, 6), torch.randint(3, (n,))) for n in (5, 4))
    expected = reference(model, noisy, trusted)
    weigh = MetaReweighter(model, forward=losses, scorer=GradientSimilarity())
    for _ in range(3):
        step = (weigh if training else weigh.score)(noisy, trusted)
        assert_same(step.scores["gradient_similarity"], expected, 1e-9)


@pytest.mark.compatibility(
    "hook", "Gradients changed by hooks, method forward or double_backward asked for", "refused"
)
@pytest.mark.parametrize("method", ["forward", "double_backward"])
def test_a_method_that_cannot_honour_them_is_refused_by_name(method, record_property):
    """What is asked for by name is done or refused."""
    with float64():
        model = Hooked("activation", CHANGES["clipped"])
        noisy, trusted = ((torch.randn(n, 6), torch.randint(3, (n,))) for n in (5, 4))
    weigh = MetaReweighter(model, forward=losses, scorer=GradientSimilarity(method))
    with pytest.raises(RuntimeError, match=r"add up.*per_sample") as error:
        weigh.score(noisy, trusted)
    record_property("reason", str(error.value).replace(f'"{method}"', '"…"'))


@pytest.mark.parametrize("how", WAYS)
def test_hooks_that_only_look_cost_no_other_way(how):
    with float64():
        model = Hooked(how, CHANGES["noted"])
        noisy, trusted = ((torch.randn(n, 6), torch.randint(3, (n,))) for n in (5, 4))
    weigh = MetaReweighter(model, forward=losses, scorer=GradientSimilarity())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        weigh(noisy, trusted)
    assert weigh._objective.verdicts.way == ""


def test_a_trusted_term_meets_the_parameters_hooks_once():
    """They see the sum of both terms, as they would in plain training."""
    with float64():
        model = Hooked("parameter", lambda g: g.clamp(-1e-2, 1e-2))
        noisy, trusted = ((torch.randn(n, 6), torch.randint(3, (n,))) for n in (5, 4))
    weigh = MetaReweighter(
        model, forward=losses, scorer=LastLayerGradient(), trusted_coefficient=0.7
    )
    step = weigh(noisy, trusted)
    step.loss.backward()
    found = flat([p.grad for p in model.parameters()])
    model.zero_grad()
    ((step.weights * losses(model, noisy)).sum() + 0.7 * losses(model, trusted).mean()).backward()
    assert_same(found, flat([p.grad for p in model.parameters()]), 1e-9)


@pytest.mark.compatibility(
    "hook",
    "Tensor.register_post_accumulate_grad_hook",
    "as in training",
    "runs in the backward pass of training only",
)
def test_hooks_on_accumulated_gradients_are_left_to_training():
    """An optimiser that steps in the backward pass must not step in a scoring pass."""
    with float64():
        model = nn.Linear(6, 3)
        noisy, trusted = ((torch.randn(n, 6), torch.randint(3, (n,))) for n in (5, 4))
    called = []
    model.weight.register_post_accumulate_grad_hook(lambda _p: called.append(1))
    weigh = MetaReweighter(model, nn.CrossEntropyLoss(reduction="none"), trusted_coefficient=1.0)
    weigh.score(noisy, trusted)
    step = weigh(noisy, trusted)
    assert not called
    step.loss.backward()
    assert called == [1]


@pytest.mark.parametrize("granularity", ["sample", "element"])
@pytest.mark.parametrize("change", CHANGES)
def test_norms_of_the_last_layer_are_those_of_backward_passes(change, granularity):
    with float64():
        model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))
        noisy = torch.randn(5, 6), torch.randn(5, 3)
    model[2].weight.register_hook(CHANGES[change])

    def squares(output: Tensor, target: Tensor) -> Tensor:
        return (output - target).square()

    losses = squares(model(noisy[0]), noisy[1])
    losses = losses if granularity == "element" else losses.mean(1)
    expected = []
    for loss in losses.flatten():
        model.zero_grad()
        loss.backward(retain_graph=True)
        expected.append(flat([p.grad for p in model[2].parameters()]).norm())
    expected = torch.stack(expected).reshape(losses.shape)
    weigh = MetaReweighter(model, squares, scorer=LastLayerGradient(), granularity=granularity)
    for _ in range(4):
        assert_same(weigh.score(noisy).scores["last_layer_gradient"], expected, 1e-9)
        assert_same(weigh(noisy).scores["last_layer_gradient"], expected, 1e-9)
