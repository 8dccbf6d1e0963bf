"""Layers that run where hooks are not allowed, or where what they return hides its graph."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn
from torch.nn.modules import module as torch_modules

from reweight import LastLayerGradient, MetaReweighter
from tests import oracle
from tests.comparing import assert_same

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")

CE = nn.CrossEntropyLoss(reduction="none")


class HeadFirst(nn.Module):
    """Registered in another order than it runs, and with a parameter of its own."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(8, 3)
        self.body = nn.Sequential(nn.Linear(6, 8), nn.Tanh())
        self.scale = nn.Parameter(torch.full((3,), 1.5))

    def forward(self, x):
        return self.head(self.body(x)) * self.scale


class Branching(nn.Module):
    """Which layer is last is decided by the data."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(6, 3), nn.Linear(6, 3)

    def forward(self, x):
        return self.a(x) if bool(x.sum() > 0) else self.b(x)


def batch(count=5):
    return torch.randn(count, 6).double(), torch.randint(3, (count,))


def supervised(model, given):
    return CE(model(given[0]), given[1])


def in_script(model):
    return torch.jit.script(model)


def in_trace(model):
    return torch.jit.trace(model, batch()[0])


def in_a_part(model):
    return nn.Sequential(nn.Identity(), torch.jit.script(model))


def scored(model, given, forward=supervised, scorer=None, steps=3):
    """Scores of training steps and of `score`, which must be one."""
    weigh = MetaReweighter(model, forward=forward, scorer=scorer or LastLayerGradient())
    found = []
    for _ in range(steps):
        found += [weigh(given).scores, weigh.score(given).scores]
    for one in found[1:]:
        assert_same(one["last_layer_gradient"], found[0]["last_layer_gradient"], 1e-9)
    return found[0]["last_layer_gradient"]


@pytest.mark.parametrize("way", [in_script, in_trace, in_a_part])
@pytest.mark.parametrize("layer", [None, "head", "body.0"])
def test_a_scripted_model_is_scored_by_the_layer_that_its_eager_twin_has(way, layer):
    model, given = HeadFirst().double(), batch()
    expected = oracle.last_layer_norms(model, supervised, given, layer or "head")
    name = f"1.{layer}" if layer and way is in_a_part else layer
    found = scored(way(model), given, scorer=LastLayerGradient(layer=name))
    assert_same(found, expected, 1e-9)


def test_a_scripted_layer_as_an_object():
    model, given = HeadFirst().double(), batch()
    expected = oracle.last_layer_norms(model, supervised, given, "body.0")
    scripted = torch.jit.script(model)
    layer = dict(scripted.named_modules())["body.0"]
    assert_same(scored(scripted, given, scorer=LastLayerGradient(layer=layer)), expected, 1e-9)


def test_a_scripted_body_before_an_ordinary_head():
    model = nn.Sequential(torch.jit.script(nn.Linear(6, 8)), nn.Tanh(), nn.Linear(8, 3)).double()
    given = batch()
    assert_same(scored(model, given), oracle.last_layer_norms(model, supervised, given, "2"), 1e-9)
    assert_same(
        scored(model, given, scorer=LastLayerGradient("0")),
        oracle.last_layer_norms(model, supervised, given, "0"),
        1e-9,
    )


def test_a_scripted_branch_is_one_layer_and_it_is_said():
    eager, given = Branching().double(), batch()
    model = torch.jit.script(eager)
    weigh = MetaReweighter(model, CE, scorer=LastLayerGradient())
    with pytest.warns(UserWarning, match=r"scripted module.*layer="):
        found = weigh.score(given).scores["last_layer_gradient"]
    rows = oracle.per_sample_gradients(model, supervised, given, list(model.parameters()))
    assert_same(found, rows.norm(dim=1), 1e-9)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        weigh.score(given)
        named = MetaReweighter(model, CE, scorer=LastLayerGradient("a"))
        found = named.score((given[0].abs(), given[1])).scores["last_layer_gradient"]
    expected = oracle.last_layer_norms(eager, supervised, (given[0].abs(), given[1]), "a")
    assert_same(found, expected, 1e-9)


def test_frozen_scripted_layers_do_not_count():
    model, given = HeadFirst().double(), batch()
    scripted = torch.jit.script(model)
    for parameter in scripted.head.parameters():
        parameter.requires_grad_(False)
    expected = oracle.last_layer_norms(model, supervised, given, "body.0")
    assert_same(scored(scripted, given), expected, 1e-9)


def test_no_hook_stays_on_all_modules_when_a_scripted_model_fails():
    def failing(model, given):
        model(given[0])
        raise KeyError("in the loss")

    before = len(torch_modules._global_forward_hooks)
    scripted = torch.jit.script(HeadFirst().double())
    weigh = MetaReweighter(scripted, forward=failing, scorer=LastLayerGradient())
    with pytest.raises(KeyError):
        weigh(batch())
    assert len(torch_modules._global_forward_hooks) == before


class Field(nn.Module):
    def __init__(self, outputs):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, outputs))

    def forward(self, *parts):
        return self.net(torch.cat(parts, dim=-1))


def mean_flow(model, given):
    z, v, t = given
    u, du = torch.func.jvp(model, (z, t), (v, torch.ones_like(t)))
    return (u - (v - t * du).detach()).square().mean(1)


def with_its_derivative(model, given):
    """The derivative itself is trained."""
    z, v, t = given
    u, du = torch.func.jvp(model, (z, t), (v, torch.ones_like(t)))
    return (u - v).square().mean(1) + du.square().sum(1)


def laplace(second):
    def losses(model, given):
        points = torch.cat([given[0], given[2]], dim=-1)
        hessians = torch.func.vmap(second(lambda p: model(p).square().sum()))(points)
        return (hessians.diagonal(dim1=1, dim2=2).sum(1) - 1).square()

    return losses


def by_reverse(f):
    return torch.func.jacrev(torch.func.jacrev(f))


def parameters_as_arguments(model, given):
    """A sample's gradient by the parameters, in the loss."""
    parameters = dict(model.named_parameters())
    z, v, t = given

    def loss(parameters, z, t):
        return torch.func.functional_call(model, parameters, (z, t)).square().sum()

    plain = (model(z, t) - v).square().mean(1)
    found = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0, 0))(parameters, z, t)
    return plain + found["net.2.bias"].square().sum(1)


def vmapped(model, given):
    z, v, t = given
    return (torch.func.vmap(model)(z, t) - v).square().mean(1)


@pytest.mark.parametrize(
    "losses",
    [
        mean_flow,
        with_its_derivative,
        laplace(torch.func.hessian),
        laplace(by_reverse),
        vmapped,
        parameters_as_arguments,
    ],
    ids=["jvp", "jvp trained", "hessian", "jacrev", "vmap", "grad"],
)
@pytest.mark.parametrize("layer", [None, "net.0"])
def test_transforms_in_the_loss(losses, layer):
    model = Field(2).double()
    given = torch.randn(5, 2).double(), torch.randn(5, 2).double(), torch.rand(5, 1).double()
    rows = oracle.per_sample_gradients(
        model, losses, given, list(model.get_submodule(layer or "net.2").parameters())
    )
    found = scored(model, given, losses, LastLayerGradient(layer=layer))
    assert_same(found, rows.norm(dim=1), 1e-9)


def test_many_passes_in_a_transform_are_announced_with_the_reason():
    model = Field(2)
    given = torch.randn(33, 2), torch.randn(33, 2), torch.rand(33, 1)
    weigh = MetaReweighter(model, forward=mean_flow, scorer=LastLayerGradient())
    with pytest.warns(UserWarning, match=r"33 backward passes.*'net.2'.*torch.func"):
        weigh.score(given)


def test_a_parametrisation_may_be_the_layer():
    """It is part of a layer, and yet a module with a name."""
    model = nn.Sequential(nn.Linear(6, 3)).double()
    nn.utils.parametrize.register_parametrization(model[0], "weight", nn.Linear(6, 6).double())
    name, given = "0.parametrizations.weight.0", batch()
    expected = oracle.last_layer_norms(model, supervised, given, name)
    assert_same(scored(model, given, scorer=LastLayerGradient(name)), expected, 1e-9)
