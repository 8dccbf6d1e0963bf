"""Operators of one tensor that work element by element."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from reweight._derivative.beside_training import activations
from tests.derivative.beside_training.observing import EITHER, observe
from tests.derivative.beside_training.ruling import ruled
from tests.derivative.beside_training.test_rules import f64, rand

SIMPLE = {
    f"{getattr(f, '__module__', '')}.{f.__qualname__}": f
    for f in activations.SIMPLE
    if f not in activations.IN_PLACE
}


@pytest.mark.parametrize("name", SIMPLE)
@pytest.mark.parametrize("shape", [(3, 4), ()])
def test_simple_ones(name, shape):
    """Those that want numbers above 0 get them; the square of one brings both signs."""
    operator = SIMPLE[name]
    positive = any(word in name for word in ("log", "sqrt", "reciprocal")) and "sig" not in name
    x = rand(*shape).abs() + 0.3 if positive else rand(*shape) * 4
    ruled(lambda x: operator(x), x)


@pytest.mark.parametrize("operator", list(activations.IN_PLACE), ids=lambda f: f.__qualname__)
def test_simple_ones_in_place(operator):
    ruled(lambda x: operator(x * 1) + x * x, rand(3, 4).abs() + 0.3)


@pytest.mark.parametrize(
    "call",
    [
        lambda x: F.silu(x * 1, True),
        lambda x: F.silu(x * 1, inplace=True) * x,
        lambda x: F.mish(x * 1, inplace=True),
        lambda x: F.hardswish(x * 1, inplace=True),
        lambda x: F.hardsigmoid(x * 1, inplace=True),
        lambda x: F.leaky_relu(x),
        lambda x: F.leaky_relu(x, 0.3) + F.leaky_relu(x, negative_slope=-0.2),
        lambda x: F.leaky_relu(x * 1, 0.3, inplace=True),
        lambda x: F.elu(x) + F.elu(x, alpha=0.4) + F.elu(x, 2.0),
        lambda x: F.elu(x * 1, 0.7, inplace=True),
        lambda x: F.hardtanh(x) + F.hardtanh(x, -0.3, max_val=2.0),
        lambda x: F.hardtanh(x * 1, inplace=True),
        lambda x: F.relu6(x * 3) + F.relu6(x * 3, inplace=True),
        lambda x: F.gelu(x),
        lambda x: F.gelu(x, approximate="tanh") + F.gelu(input=x, approximate="none"),
        lambda x: F.softplus(x) + F.softplus(x, 2.0) + F.softplus(x, beta=0.5, threshold=1.0),
        lambda x: F.glu(x) + F.glu(x, dim=1),
        lambda x: F.glu(x.t(), 0),
        lambda x: x.clamp(-0.5, 0.5) + torch.clamp(x, min=0.1) + x.clip(max=0.2),
        lambda x: x.clamp_min(0.1) + x.clamp_max(max=0.3) + torch.clip(x, -1, 1),
        lambda x: (x - x.detach()).clamp(0, 1) + (x - x.detach() + 1).clamp(0, 1),  # at a bound
        lambda x: x**2 + x**3 + x.pow(4) + torch.pow(x, 1) + x**0,
        lambda x: (x.abs() + 0.1) ** 0.5 + torch.pow(x.abs() + 0.1, -1.5),
        lambda x: (x - x.detach()) ** 2 + (x - x.detach()) ** 1 + x,  # at zero
    ],
)
def test_those_with_options(call):
    ruled(call, rand(3, 4) * 2)


def test_what_has_no_rule_is_run_again():
    for call in (
        lambda x: F.elu(x * 1, -0.5),
        lambda x: x.clamp(torch.zeros(4, dtype=f64), x.detach() + 1),
        lambda x: (x.abs() + 1) ** rand(4),
        lambda x: torch.pow(2.0, x),
        lambda x: (x * 1).pow_(2),
        lambda x: (x + 1j).abs(),
    ):
        observe(call, rand(3, 4))


def test_in_place_on_a_view():
    observe(lambda x: F.silu((x * 1)[:1], inplace=True), rand(3, 4), expect=EITHER)
    observe(lambda x: (x * 1)[:1].exp_(), rand(3, 4), expect=EITHER)


def under_hooks(activation, x: Tensor) -> Tensor:
    with torch.autograd.graph.saved_tensors_hooks(lambda x: x * 1, lambda x: x):
        return activation(x * 1)


def test_what_is_kept_is_not_read_past_the_hooks_of_others():
    ruled(
        lambda x: under_hooks(lambda z: F.silu(z, inplace=True), x), rand(3, 4), expect_rerun=True
    )
    ruled(lambda x: under_hooks(F.silu, x), rand(3, 4))


@pytest.mark.parametrize("operator", [F.gelu, F.silu, torch.sigmoid, torch.tanh, F.mish])
def test_in_single_precision(operator):
    observe(lambda x: operator(x), rand(5, 6, dtype=torch.float32) * 3, tolerance=1e-6)
