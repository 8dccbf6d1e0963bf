"""Dropout by the mask that was drawn."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from tests.derivative.beside_training.ruling import ruled
from tests.derivative.beside_training.test_rules import rand


@pytest.mark.parametrize(
    "call",
    [
        lambda x: F.dropout(x),
        lambda x: F.dropout(x, 0.3) + F.dropout(x, p=0.9, training=True),
        lambda x: F.dropout(x, 0.0) * x + F.dropout(x, 1.0) + F.dropout(x, training=False),
        lambda x: F.dropout(x * 1, 0.3, inplace=True) * F.dropout(x * 1, 0.0, True, True),
        lambda x: F.dropout(x * 1, 0.3, training=False, inplace=True),
        lambda x: F.dropout(x * 1, 1.0, inplace=True) + x,
        lambda x: torch.dropout(x, 0.4, True) + torch.dropout(x, p=0.4, train=False),
        lambda x: torch.dropout_(x * 1, 0.4, True),
        lambda x: F.dropout1d(x[0]) + F.dropout1d(x[0], 0.3, inplace=False),
        lambda x: F.dropout2d(x, 0.5) + F.dropout2d(x, 0.5, training=False),
        lambda x: F.dropout3d(x[:, None], 0.5) * x[:, None],
        lambda x: F.dropout2d(x * 1, 0.5, inplace=True),
        lambda x: F.dropout(x - x.detach(), 0.5) + x,  # at zero
        lambda x: F.dropout(x, 0.5).detach() * F.dropout(F.dropout(x, 0.5), 0.5) + x,
    ],
)
def test_forms(call):
    ruled(call, rand(2, 3, 4, 2))


@pytest.mark.parametrize("p", [0.5, 1.0])
def test_the_mask_is_not_read_past_the_hooks_of_others(p):
    def program(x: torch.Tensor) -> torch.Tensor:
        with torch.autograd.graph.saved_tensors_hooks(torch.clone, lambda x: x):
            return F.dropout(x, p) + x

    ruled(program, rand(3, 4), expect_rerun=True)


def test_others_are_run_again_with_the_same_numbers():
    for call in (F.alpha_dropout, F.feature_alpha_dropout, F.rrelu):
        ruled(lambda x, f=call: f(x, training=True), rand(3, 4), expect_rerun=True)
