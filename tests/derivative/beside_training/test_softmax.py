"""Softmax and its like, variances, layer norms and theirs, each in the forms it is called in."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from tests.derivative.beside_training.observing import observe
from tests.derivative.beside_training.ruling import ruled
from tests.derivative.beside_training.test_rules import f64, rand


def masked(x: Tensor) -> Tensor:
    return x.masked_fill(torch.tensor([True, False, False, True]), -torch.inf)


@pytest.mark.parametrize(
    "call",
    [
        lambda x: F.softmax(x, dim=-1) + F.softmax(x, 0),
        lambda x: torch.softmax(x, 1) + x.softmax(dim=2) + torch.special.softmax(x, -2),
        lambda x: F.softmax(masked(x), -1),
        lambda x: F.log_softmax(x, dim=-1) + F.log_softmax(x, 1) + x.log_softmax(0),
        lambda x: torch.log_softmax(x, dim=2) + torch.special.log_softmax(x, 0),
        lambda x: torch.logsumexp(x, 1) + x.logsumexp(dim=1) + x.logsumexp(-2, keepdim=True)[:, 0],
        lambda x: masked(x).logsumexp(-1),
        lambda x: x.var() + x.var(False) + x.std() + torch.var(x, dim=None),
        lambda x: x.var(-1, unbiased=False) + x.var(2, False) + torch.var(x, 2, True),
        lambda x: torch.var(x, (0, 1), keepdim=True) + x.std([0, 1], correction=0),
        lambda x: x.var(dim=1, correction=2, keepdim=True) + x.std(1, True, True),
    ],
)
def test_forms(call):
    ruled(call, rand(2, 3, 4))


def test_in_another_precision():
    for call in (
        lambda x: F.softmax(x.float(), -1, dtype=f64),
        lambda x: F.softmax(x, -1, dtype=torch.float32),
        lambda x: x.log_softmax(-1, dtype=torch.float32),
        lambda x: torch.log_softmax(x.float(), 1, dtype=f64),
    ):
        observe(call, rand(2, 3, 4), tolerance=1e-6)


def test_over_several_dimensions():
    ruled(lambda x: torch.logsumexp(x, (0, 1)), rand(2, 3), expect_rerun=True)
