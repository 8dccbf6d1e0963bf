"""Batches of every form: scores equal those of one plain backward pass a sample."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.compatibility.comparing import Tried, exact
from tests.compatibility.frameworks import need


@dataclass
class Record:
    x: Tensor
    y: Tensor


class Plain:
    def __init__(self, x: Tensor, y: Tensor) -> None:
        self.x, self.y = x, y


Pair = namedtuple("Pair", ["x", "y"])


def jagged(n: int) -> Tensor:
    parts = [torch.randn(1 + i % 3, 6).double() for i in range(n)]
    return torch.nested.nested_tensor(parts, layout=torch.jagged)


def metatensor(n: int) -> Any:
    need("monai")
    from monai.data import MetaTensor

    return MetaTensor(torch.randn(n, 6).double())


def labels(n: int) -> Tensor:
    return torch.randint(3, (n,))


def x(n: int) -> Tensor:
    return torch.randn(n, 6).double()


# What a batch is, by how many samples it has, and how the inputs are had from it.
BATCHES: dict[str, tuple[str, Callable[[int], Any], Callable[[Any], tuple[Any, Tensor]]]] = {
    "pair": ("Pairs of tensors", lambda n: (x(n), labels(n)), tuple),
    "list": ("Pairs in a list, as data loaders give them", lambda n: [x(n), labels(n)], tuple),
    "dict": (
        "Dicts",
        lambda n: {"x": x(n), "y": labels(n), "name": ["a"] * n},
        lambda b: (b["x"], b["y"]),
    ),
    "named tuple": ("Named tuples", lambda n: Pair(x(n), labels(n)), tuple),
    "dataclass": ("Dataclasses", lambda n: Record(x(n), labels(n)), lambda b: (b.x, b.y)),
    "object": ("Objects of any class", lambda n: Plain(x(n), labels(n)), lambda b: (b.x, b.y)),
    "array": (
        "NumPy arrays",
        lambda n: {"x": x(n).numpy(), "y": labels(n)},
        lambda b: (torch.from_numpy(b["x"]), b["y"]),
    ),
    "tensors": (
        "Lists of tensors of several lengths",
        lambda n: ([x(1 + i % 3) for i in range(n)], labels(n)),
        lambda b: (torch.stack([part.mean(0) for part in b[0]]), b[1]),
    ),
    "jagged": (
        "Jagged nested tensors",
        lambda n: (jagged(n), labels(n)),
        lambda b: (torch.stack([part.mean(0) for part in b[0].unbind()]), b[1]),
    ),
    "sparse": (
        "Sparse tensors",
        lambda n: (torch.where(x(n) > 0.5, x(n), 0.0).to_sparse(), labels(n)),
        lambda b: (b[0].to_dense(), b[1]),
    ),
    "offsets": (
        "Words of all samples in one tensor, with offsets",
        lambda n: (x(3 * n), 3 * torch.arange(n), labels(n)),
        lambda b: (torch.stack([b[0][i : i + 3].mean(0) for i in b[1].tolist()]), b[2]),
    ),
    "metatensor": ("MetaTensor (MONAI)", lambda n: (metatensor(n), labels(n)), tuple),
}


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(kind, marks=pytest.mark.compatibility("batch", what, "exact"))
        for kind, (what, _, _) in BATCHES.items()
    ],
)
def test_scores_are_exact_whatever_a_batch_is(kind):
    _, make, inputs_and_target = BATCHES[kind]
    model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 3)).double()

    def losses(model: nn.Module, batch: Any) -> Tensor:
        inputs, target = inputs_and_target(batch)
        return F.cross_entropy(model(inputs), target, reduction="none")

    assert exact(Tried(model, losses, make(5), make(4), "3")) == []
