"""Sums, products, quotients and choices between two."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.derivative.beside_training.observing import observe
from tests.derivative.beside_training.ruling import ruled
from tests.derivative.beside_training.test_rules import f64, rand

X, Y = (3, 4), (4,)


def augmented(x: Tensor, y: Tensor) -> Tensor:
    z = x * 1
    z *= 2
    z /= 3
    z -= y
    z -= 1
    z /= y + 3
    return z * x


def rows_written(x: Tensor, y: Tensor) -> Tensor:
    z = torch.zeros(3, 4, dtype=f64)
    z[0] = y
    z[1:, 2] = x[1:, 1]
    z[z > 0.5] = 0.25
    z[torch.tensor([2, 1]), torch.tensor([0, 3])] = y[:2]
    return z * x


@pytest.mark.parametrize(
    "call",
    [
        lambda x, y: x * y + y * x + torch.mul(x, 2) + 3 * x + x.multiply(y),
        lambda x, y: x * x * y.sum() + x * rand(2, 1, 1),
        lambda x, y: x.__mul__(y) + x.__rmul__(2) + y.mul(torch.tensor(2, dtype=f64)),
        lambda x, y: (x * 1).mul_(3).mul_(rand(3, 4)) + y,
        lambda x, y: x / (y + 3) + 2 / (x + 5) + torch.div(x, 4) + rand(3, 1) / (y + 3),
        lambda x, y: x.divide(y + 3) + torch.true_divide(x, y + 3) + rand(2, 1, 4) / (x + 5),
        lambda x, y: (x * 1).div_(y + 3).div_(2),
        lambda x, y: x - y + (y - x) + (1 - x) + (x - 1) + torch.sub(x, y, alpha=2.5),
        lambda x, y: x.sub(y, alpha=-1) + torch.rsub(x, y) + torch.rsub(x, y, alpha=3),
        lambda x, y: torch.rsub(x, 2.0, alpha=3) + y.__rsub__(2) + (y - rand(3, 4)),
        lambda x, y: (x * 1).sub_(y).sub_(1).sub_(y, alpha=3) - rand(2, 1, 1),
        augmented,
        lambda x, y: -x + x.neg() + torch.neg(y),
        lambda x, y: torch.where(x > 0, x, y) + torch.where(x > 0, 0.0, y) + x.where(x > 1, y),
        lambda x, y: torch.where(rand(2, 3, 4) > 0, x, rand(3, 1)) + x.where(y > 0, 0),
        lambda x, y: torch.where(x > 0, x * 1, -1e30) * y,
        lambda x, y: x.masked_fill(x > 0, 0) + torch.masked_fill(x, x > 0, value=1e30) + y,
        lambda x, y: x.masked_fill(x > 0, y.sum()) + y.masked_fill(x > 0, 2.0),
        lambda x, y: (x * 1).masked_fill_(x > 0, y.mean()),
        lambda x, y: torch.zeros(3, 4, dtype=f64).masked_fill(x > 0, y.mean()),
        rows_written,
    ],
)
def test_of_two(call):
    ruled(call, rand(*X), rand(*Y, seed=1))


def test_a_safe_choice_lets_no_infinity_through():
    def program(x: Tensor) -> Tensor:
        return torch.where(x > 0, (x.clamp(min=0)).sqrt(), x)

    observe(program, torch.tensor([0.5, -1.0, 2.0], dtype=f64))


@pytest.mark.parametrize(
    "call",
    [
        lambda x, y: (x * 1).mul_(y),  # reads what it writes over
        lambda x, y: torch.div(x, y + 3, rounding_mode=None),
        lambda x, y: torch.mul(x, other=y),
        lambda x, y: x * (y + 1j),
        lambda x, y: x.float() * y + x.float() / (y + 3) - x.float(),
    ],
)
def test_in_other_ways(call):
    observe(lambda x, y: torch.view_as_real(call(x, y) + 0j), rand(*X), rand(*Y), tolerance=1e-6)
