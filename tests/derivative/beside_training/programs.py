"""Small programs over a few tensors: any sequence of steps is one."""
# ruff: noqa: ARG001, ARG005 - programs of one table have one signature

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

Step = tuple[str, int, int]
LEAVES = ((2, 3), (3,))


def fit(y: Tensor, x: Tensor) -> Tensor:
    """``y`` as something that broadcasts to ``x`` without changing its shape."""
    return y if y.shape == x.shape else y.mean()


def without_recording(x: Tensor, y: Tensor) -> None:
    with torch.no_grad():
        x.mul_(fit(y.detach(), x))


def first_written(x: Tensor, y: Tensor) -> None:
    x.reshape(-1)[0] = y.mean()  # of a view, or of a copy


def part_scaled(x: Tensor, y: Tensor) -> None:
    part = x[..., :1]
    part *= y.mean()


def cut(x: Tensor, y: Tensor) -> None:
    if not x._is_view():
        x.detach_()


def cut_and_a_leaf(x: Tensor, y: Tensor) -> None:
    cut(x, y)
    if x.is_leaf:
        x.requires_grad_()


def rows(x: Tensor) -> Tensor:
    return x.reshape(-1, x.shape[-1] if x.dim() else 1)


NEW: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "sin": lambda x, y: x.sin(),
    "relu": lambda x, y: F.relu(x),
    "prelu": lambda x, y: F.prelu(x, y.reshape(-1)[:1]),
    "softmax": lambda x, y: rows(x).softmax(-1),
    "dropout": lambda x, y: F.dropout(x, 0.4),
    "dropout eval": lambda x, y: F.dropout(x, 0.4, training=False),
    "add": lambda x, y: x + fit(y, x),
    "add alpha": lambda x, y: torch.add(x, fit(y, x), alpha=0.5),
    "mul": lambda x, y: x * fit(y, x),
    "where": lambda x, y: torch.where(x > 0.1, x, fit(y, x)),
    "outer": lambda x, y: x.reshape(-1, 1) @ y.reshape(1, -1)[:, :2],
    "linear": lambda x, y: F.linear(rows(x), y.reshape(-1)[:1].expand(2, rows(x).shape[-1])),
    "norm": lambda x, y: F.batch_norm(x.reshape(-1, 1), None, None, training=True, eps=0.1),
    "cat": lambda x, y: torch.cat([x.reshape(-1), y.reshape(-1)])[:6],
    "sum": lambda x, y: x.sum(-1, keepdim=True) if x.dim() else x.sum(),
    "mean": lambda x, y: torch.mean(x),
    "view": lambda x, y: x.view(x.shape),
    "flat": lambda x, y: x.flatten(),
    "transpose": lambda x, y: rows(x).transpose(0, 1),
    "contiguous": lambda x, y: x.contiguous(),
    "slice": lambda x, y: x.unsqueeze(0)[..., -1:],
    "chunk": lambda x, y: rows(x).chunk(2, 1)[-1],
    "unbind": lambda x, y: rows(x).unbind()[0],
    "expand": lambda x, y: x.expand(2, *x.shape) if x.numel() < 5 else x,
    "detach": lambda x, y: x.detach(),
    "clone": lambda x, y: x.clone(),
    "zeros": lambda x, y: torch.zeros_like(x),
    "fresh": lambda x, y: torch.rand_like(x, requires_grad=True),
}
CHANGE: dict[str, Callable[[Tensor, Tensor], object]] = {
    "add_": lambda x, y: x.add_(fit(y, x)),
    "iadd": lambda x, y: x.__iadd__(fit(y, x)),
    "mul_": lambda x, y: x.mul_(fit(y, x)),
    "relu_": lambda x, y: F.relu(x, inplace=True),
    "elu_": lambda x, y: F.elu(x, inplace=True),
    "dropout_": lambda x, y: F.dropout(x, 0.4, True, True),
    "copy_": lambda x, y: x.copy_(fit(y, x)),
    "clamp_": lambda x, y: x.clamp_(-0.7, 0.7),
    "zero_": lambda x, y: x.zero_(),
    "masked_fill_": lambda x, y: x.masked_fill_(x > 0.3, y.mean()),
    "setitem": lambda x, y: x.__setitem__(..., fit(y, x)),
    "through a view": lambda x, y: F.relu(x.unsqueeze(0), inplace=True),
    "unsqueeze_": lambda x, y: x.unsqueeze_(0),
    "first written": first_written,
    "part scaled": part_scaled,
    "without recording": without_recording,
    "cut": cut,
    "cut and a leaf": cut_and_a_leaf,
}


def run(steps: Sequence[Step], leaves: Sequence[Tensor]) -> list[Tensor]:
    """Return every tensor that the program has made."""
    parameters = list(leaves)
    pool = [*parameters, parameters[0] * 1.0, torch.linspace(-1, 1, 6, dtype=torch.float64)]
    for name, i, j in steps:
        x, y = pool[i % len(pool)], pool[j % len(pool)]
        if name in NEW:
            pool.append(NEW[name](x, y))
        else:
            if any(x is p for p in parameters):
                x = x * 2
                pool.append(x)
            CHANGE[name](x, y)
    return pool[len(parameters) :]
