"""Tensors that change, seen and unseen."""
# ruff: noqa: ARG005 - programs of one table have one signature

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from reweight._derivative.beside_training import TangentMode
from tests.derivative.beside_training.observing import EITHER, FOLLOWED, Program, observe
from tests.derivative.beside_training.test_rules import rand


def changing(change: Callable[[Tensor, Tensor], object]) -> Program:
    """Change a tensor computed from the first leaf, and go on with it."""

    def program(x: Tensor, y: Tensor) -> Tensor:
        h = x.sin()
        change(h, y)
        return h.cos() * x

    return program


MASK = torch.tensor([True, False, True, False])
ROWS = torch.tensor([2, 0])


@pytest.mark.parametrize(
    "change",
    [
        lambda h, y: h.__setitem__((slice(None), 0), y[:3]),
        lambda h, y: h.__setitem__(MASK[:3], y),
        lambda h, y: h.__setitem__(1, 0.5),
        lambda h, y: h.masked_fill_(MASK, 2.0),
        lambda h, y: h.masked_fill_(MASK, y[0]),
        lambda h, y: h.masked_scatter_(MASK, y.repeat(2)),
        lambda h, y: h.index_put_((ROWS,), y),
        lambda h, y: h.index_put_((ROWS,), y, accumulate=True),
        lambda h, y: h.index_add_(0, ROWS, y.expand(2, 4), alpha=2),
        lambda h, y: h.index_copy_(0, ROWS, y.expand(2, 4)),
        lambda h, y: h.scatter_(0, ROWS[:, None], y[:2, None]),
        lambda h, y: h.scatter_add_(1, ROWS[None], y[None, :2]),
        lambda h, y: h.copy_(y),
        lambda h, y: h.clamp_(-0.3, 0.3),
        lambda h, y: h.clamp_(max=y.max()),
        lambda h, y: h.mul_(y).sub_(y, alpha=3).div_(2).addcmul_(y, y, value=0.5).neg_(),
        lambda h, y: h.lerp_(y.expand(3, 4), 0.3).addmm_(y[:3, None], y[None], beta=0.5),
        lambda h, y: h.t_().t_().unsqueeze_(0).squeeze_(0).transpose_(0, 1).swapaxes_(0, 1),
        lambda h, y: h.zero_().add_(y),
        lambda h, y: h.fill_(y[1]),
        lambda h, y: h.cumsum_(0).add_(y, alpha=-2),
        lambda h, y: h.detach_().add_(y),
        lambda h, y: h.__imul__(y).__itruediv__(2).__isub__(y),
        lambda h, y: F.dropout(h, 0.5, True, True),
        lambda h, y: F.alpha_dropout(h, 0.5, True, inplace=True),
        lambda h, y: torch.ops.aten.mul_.Tensor(h, y),
        lambda h, y: torch.ops.aten.add_(h, y),
    ],
)
def test_operators_in_place(change):
    observe(changing(change), rand(3, 4), rand(4, seed=1))


INPLACE = (
    "relu relu6 elu selu celu leaky_relu hardtanh hardswish hardsigmoid silu mish threshold rrelu "
    "dropout dropout1d dropout2d dropout3d feature_alpha_dropout alpha_dropout"
)


@pytest.mark.parametrize("name", INPLACE.split())
def test_every_function_that_has_an_inplace(name):
    function = getattr(F, name)
    options = {"threshold": {"threshold": 0.1, "value": 0.2}}.get(name, {})
    if "drop" in name or name == "rrelu":
        options = {"training": True}
    shape = {"dropout1d": (2, 3, 4), "dropout2d": (2, 3, 2, 2), "dropout3d": (2, 3, 2, 1, 2)}
    x = rand(*shape.get(name, (3, 4)))

    def by_position(x: Tensor) -> Tensor:
        h = x.exp() - 1
        function(h, **options, inplace=True)
        return h * x

    def by_keyword(x: Tensor) -> Tensor:
        return function(input=x.exp() - 1, **options, inplace=True) * x

    def through_a_view(x: Tensor) -> Tensor:
        h = x.exp() - 1
        seen = function(h.view(h.shape), **options, inplace=True)
        return seen * x

    expect = EITHER if name == "rrelu" else FOLLOWED  # it has no forward mode
    for program in (by_position, by_keyword, through_a_view):
        observe(program, x, expect=expect)


@pytest.mark.parametrize("write", [Tensor.relu_, lambda x: x.add_(1), lambda x: x.mul_(x)])
def test_autograd_still_sees_what_it_needs_overwritten(write):
    x = rand(3).requires_grad_()
    with TangentMode([(x, rand(3, seed=1))]):
        h = x.exp()
        y = h.square()
        write(h)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


def test_a_leaf_may_not_be_written():
    x = rand(3).requires_grad_()
    with TangentMode([(x, rand(3, seed=1))]), pytest.raises(RuntimeError, match="leaf Variable"):
        x.relu_()
