"""Operators that hand out some of their input's numbers."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from tests.derivative.beside_training.observing import EITHER, observe
from tests.derivative.beside_training.ruling import ruled
from tests.derivative.beside_training.test_rules import rand

WORDS = torch.tensor([[1, 0, 3], [3, 3, 4]])


@pytest.mark.parametrize(
    "call",
    [
        lambda w: F.embedding(WORDS, w),
        lambda w: F.embedding(input=WORDS, weight=w) * F.embedding(WORDS[0], w * 2),
        lambda w: F.embedding(torch.tensor(2), w) + F.one_hot(WORDS, 5).double() @ w,
    ],
)
def test_embeddings(call):
    ruled(call, rand(5, 2))


@pytest.mark.parametrize("padding", [3, -2])
def test_the_padding_row_is_constant(padding):
    def program(w: Tensor) -> Tensor:
        return F.embedding(WORDS, w, padding_idx=padding) + F.embedding(WORDS, w, padding)

    ruled(program, rand(5, 2), forward_mode=False)  # which has it move


def test_other_embeddings():
    observe(lambda w: F.embedding(WORDS, w, sparse=True), rand(5, 2))
    observe(lambda w: F.embedding(WORDS, w * 1, max_norm=0.1), rand(5, 2), expect=EITHER)


@pytest.mark.parametrize(
    "call",
    [
        lambda x: x.max(1)[0] * torch.max(x, dim=1)[0] + x.max(dim=1, keepdim=True).values[:, 0],
        lambda x: x.min(-1)[0] + torch.min(x, 2, True)[0][..., 0] + x.min(2).values,
        lambda x: x.topk(2)[0] + torch.topk(x, 2, -1).values + x.topk(k=2, dim=2)[0],
        lambda x: x.topk(1, 0, largest=False)[0] * x.sort()[0] + torch.sort(x, 1)[0],
        lambda x: x.sort(dim=-1, descending=True)[0] + x[x.max(0)[1][0, 0]],
    ],
)
def test_extremes(call):
    ruled(call, rand(2, 3, 4))


def test_extremes_of_everything_are_run_again():
    ruled(lambda x: x.max() + torch.min(x), rand(3, 4), expect_rerun=True)
    observe(lambda x: torch.max(x, x * 2).sum() + x.max(0)[0], rand(3, 4))


@pytest.mark.parametrize(
    "call",
    [
        lambda x: F.max_pool1d(x[0, 0], 2) + F.max_pool1d(x[0], 2, stride=2)[0],
        lambda x: F.max_pool2d(x, 2) * F.max_pool2d(x, (2, 2), ceil_mode=False),
        lambda x: (
            F.max_pool2d(x[0], 2, 1, 1)[None]
            + F.max_pool2d(x, 3, stride=1, padding=1)[:, :, :1, :1]
        ),
        lambda x: (
            F.max_pool2d(x, 3, 2, 1, 1, True)[..., :2, :2]
            + F.max_pool2d(x, 2, return_indices=True)[0][..., :1]
        ),
        lambda x: F.max_pool3d(x, 2) + F.max_pool3d(x[:, None], (1, 2, 2))[:, 0, :1],
        lambda x: F.max_pool3d(x[:, None], 2, return_indices=True)[0] + x[0, 0, 0, 0],
        lambda x: F.max_pool1d(x[0], kernel_size=2, stride=1, return_indices=True)[0],
        lambda x: F.max_pool2d(x.to(memory_format=torch.channels_last), 2),
    ],
)
def test_pooling(call):
    ruled(call, rand(2, 2, 4, 4))


def test_pooling_under_hooks_of_others():
    def program(x: Tensor) -> Tensor:
        with torch.autograd.graph.saved_tensors_hooks(lambda x: x * 1, lambda x: x):
            return F.max_pool2d(x, 2) + F.max_pool2d(x, 2, padding=1)[..., :2, :2]

    ruled(program, rand(2, 2, 4, 4))
