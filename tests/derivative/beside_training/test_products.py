"""Products of matrices with something added, and sums of products."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from tests.derivative.beside_training.ruling import ruled
from tests.derivative.beside_training.test_rules import rand


@pytest.mark.parametrize("moving", ["c", "a", "b", "ca", "cb", "ab", "cab"])
@pytest.mark.parametrize(
    "call",
    [
        lambda c, a, b: torch.addmm(c, a[0], b[0]),
        lambda c, a, b: torch.addmm(c[0], a[0], b[0], beta=2, alpha=-0.5),
        lambda c, a, b: c.addmm(a[0], b[0], beta=0.5) + torch.addmm(c[:, :1], a[0], b[0]),
        lambda c, a, b: torch.baddbmm(c, a, b, alpha=3) + c.baddbmm(a, b),
        lambda c, a, b: F.linear(a, b.mT[0], c[0]) + a @ b + torch.bmm(a, b),
        lambda c, a, b: a[0] @ b[0] + a @ b[0] + torch.matmul(a[:, None], b) + c,
        lambda c, a, b: torch.mv(a[0], b[0, :, 0])[:, None] + a[0].mv(b[0, :, 0]).dot(c[:, 0]),
        lambda c, a, b: torch.outer(a[0, 0], b[0, 0]) + c[0].outer(a[0, :, 0])[:, :1].sum(),
        lambda c, a, b: torch.einsum("nij,njk->nik", a, b) * torch.einsum("ik->", c),
        lambda c, a, b: torch.einsum("nij,njk,ik->nk", [a, b, c]),
        lambda c, a, b: torch.einsum("n...j,njk->...k", a, b) + torch.einsum("ik->ki", c).T,
    ],
)
def test_whatever_moves(call, moving):
    given = {"c": rand(3, 2), "a": rand(2, 3, 4, seed=1), "b": rand(2, 4, 2, seed=2)}

    def program(*moved: Tensor) -> Tensor:
        now = {**given, **dict(zip(moving, moved, strict=True))}
        out = call(now["c"], now["a"], now["b"])
        return out + 0 * sum(x.sum() for x in moved)

    ruled(program, *(given[part] for part in moving))
