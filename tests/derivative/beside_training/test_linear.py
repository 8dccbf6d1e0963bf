"""Operators that do to the tangent what they do to their first argument, and taking apart."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from reweight._derivative.beside_training import linear as rules
from tests.derivative.beside_training.observing import EITHER, observe
from tests.derivative.beside_training.ruling import ruled
from tests.derivative.beside_training.test_rules import f64, rand

ROWS = torch.tensor([1, 0, 1, 2])

FORMS = {
    "__getitem__": [
        lambda f, x: f(x, 0),
        lambda f, x: f(x, (slice(None), 0, None, slice(1, 3))),
        lambda f, x: f(x, (..., ROWS)),
        lambda f, x: f(x, ([0, 1], ROWS[:2])),
        lambda f, x: f(x, x > 0),
    ],
    "__neg__": [lambda f, x: f(x)],
    "bfloat16": [lambda f, x: f(x)],
    "clone": [lambda f, x: f(x), lambda f, x: f(x, memory_format=torch.contiguous_format)],
    "contiguous": [lambda f, x: f(x.transpose(0, 1)), lambda f, x: f(x)],
    "cpu": [lambda f, x: f(x)],
    "cumsum": [lambda f, x: f(x, 1), lambda f, x: f(x, dim=-1)],
    "diagonal": [lambda f, x: f(x), lambda f, x: f(x, 1, dim1=1, dim2=2)],
    "double": [lambda f, x: f(x.float())],
    "expand": [lambda f, x: f(x[:, :1], 2, 5, 4), lambda f, x: f(x[:, :1], (3, 2, -1, -1))],
    "expand_as": [lambda f, x: f(x[:1], x), lambda f, x: f(x[0], other=x)],
    "flip": [lambda f, x: f(x, (0, 2)), lambda f, x: f(x, dims=[1])],
    "float": [lambda f, x: f(x)],
    "gather": [
        lambda f, x: f(x, 0, (x > 0).long()),
        lambda f, x: f(x, dim=2, index=(x[:, :1] > 0).long()),
    ],
    "half": [lambda f, x: f(x)],
    "index_select": [lambda f, x: f(x, 1, ROWS), lambda f, x: f(x, dim=-1, index=ROWS)],
    "masked_select": [lambda f, x: f(x, x > 0.1)],
    "mean": [
        lambda f, x: f(x, 1),
        lambda f, x: f(x, dim=(0, 2), keepdim=True),
        lambda f, x: f(x, 0, dtype=torch.float32),
        lambda f, x: f(x)[None],
    ],
    "movedim": [lambda f, x: f(x, 0, 2), lambda f, x: f(x, (0, 1), (1, 2))],
    "narrow": [lambda f, x: f(x, 1, 1, 2), lambda f, x: f(x, dim=2, start=0, length=1)],
    "neg": [lambda f, x: f(x)],
    "permute": [lambda f, x: f(x, (2, 0, 1)), lambda f, x: f(x, dims=(1, 0, 2))],
    "repeat": [lambda f, x: f(x, 2, 1, 3), lambda f, x: f(x, (2, 1, 1, 1))],
    "repeat_interleave": [
        lambda f, x: f(x, 2, 1),
        lambda f, x: f(x, torch.tensor([1, 0, 2]), dim=1),
    ],
    "roll": [lambda f, x: f(x, 1, 2), lambda f, x: f(x, shifts=(1, 2), dims=(0, 1))],
    "select": [lambda f, x: f(x, 1, 2), lambda f, x: f(x, dim=-1, index=0)],
    "squeeze": [lambda f, x: f(x[:, :1]), lambda f, x: f(x[:1], 0), lambda f, x: f(x, dim=1)],
    "sum": [
        lambda f, x: f(x, -1),
        lambda f, x: f(x, dim=(0, 1)),
        lambda f, x: f(x, 1, dtype=torch.float32),
        lambda f, x: f(x, 1, True),
    ],
    "t": [lambda f, x: f(x[0])],
    "take_along_dim": [
        lambda f, x: f(x, (x > 0).long(), 0),
        lambda f, x: f(x, (x > 0).long().flatten()),
    ],
    "tile": [lambda f, x: f(x, (2, 1))],
    "to": [
        lambda f, x: f(x, f64),
        lambda f, x: f(x, "cpu"),
        lambda f, x: f(x, dtype=torch.float32),
        lambda f, x: f(x, x.float()),
        lambda f, x: f(x, f64, copy=True),
    ],
    "transpose": [lambda f, x: f(x, 0, 2), lambda f, x: f(x, dim0=1, dim1=-1)],
    "tril": [lambda f, x: f(x), lambda f, x: f(x, diagonal=-1)],
    "triu": [lambda f, x: f(x), lambda f, x: f(x, 1)],
    "type": [lambda f, x: f(x, torch.float32), lambda f, x: f(x, f64)],
    "type_as": [lambda f, x: f(x, x.float())],
    "unfold": [
        lambda f, x: f(x, 2, 2, 1) if f is torch.Tensor.unfold else f(x[None], 2, padding=1)
    ],
    "unsqueeze": [lambda f, x: f(x, 1), lambda f, x: f(x, dim=-1)],
    "avg_pool1d": [lambda f, x: f(x, 2), lambda f, x: f(x, kernel_size=3, padding=1)],
    "avg_pool2d": [lambda f, x: f(x, 2, 1), lambda f, x: f(x, 2, ceil_mode=True)],
    "avg_pool3d": [lambda f, x: f(x[None], (2, 1, 2)), lambda f, x: f(x[None], 1, stride=2)],
    "adaptive_avg_pool1d": [lambda f, x: f(x, 1), lambda f, x: f(x, output_size=3)],
    "adaptive_avg_pool2d": [lambda f, x: f(x, 1), lambda f, x: f(x, (2, None))],
    "adaptive_avg_pool3d": [lambda f, x: f(x[None], 1), lambda f, x: f(x[None], (1, 2, 3))],
    "channel_shuffle": [lambda f, x: f(x.repeat(2, 1, 1)[None], 2)],
    "fold": [lambda f, x: f(x[:, :, :1].expand(2, 3, 4), (2, 2), (1, 1))],
    "interpolate": [
        lambda f, x: f(x, scale_factor=2),
        lambda f, x: f(x, 7, mode="linear", align_corners=True),
        lambda f, x: f(x[None], size=(5, 3), mode="bilinear", antialias=True),
        lambda f, x: f(x[None], (2, 2), mode="bicubic"),
        lambda f, x: f(x[None, None], scale_factor=(1, 2, 1), mode="trilinear"),
        lambda f, x: f(x, 2, mode="area"),
    ],
    "pixel_shuffle": [lambda f, x: f(x.reshape(1, 4, 2, 3), 2)],
    "pixel_unshuffle": [lambda f, x: f(x.reshape(1, 6, 2, 2), 2)],
}
SAME = {
    "moveaxis": "movedim",
    "negative": "neg",
    "swapaxes": "transpose",
    "swapdims": "transpose",
    "cuda": "cpu",
}
ELSEWHERE = {
    "swapaxes": [lambda f, x: f(x, 0, 2)],
    "swapdims": [lambda f, x: f(x, dim0=1, dim1=-1)],
}


@pytest.mark.parametrize("operator", rules.LINEAR, ids=lambda f: f"{f.__qualname__}")
def test_what_is_linear(operator):
    name = operator.__name__
    if name == "cuda" and not torch.cuda.is_available():
        pytest.skip("needs a GPU")
    for form in ELSEWHERE.get(name) or FORMS[SAME.get(name, name)]:
        # What is rounded on the way is so in another order.
        coarse = name in ("bfloat16", "half")
        observe(
            lambda x, form=form: form(operator, x * 1),
            rand(2, 3, 4),
            tolerance=1e-2 if coarse else 1e-6,
        )


@pytest.mark.parametrize("name", sorted(FORMS))
def test_none_is_run_again_and_double_precision_is_kept(name):
    for operator in (f for f in rules.LINEAR if f.__name__ == name):
        for form in FORMS[name]:
            if form(operator, rand(2, 3, 4)).dtype == f64 and name != "double":
                ruled(lambda x, form=form, f=operator: form(f, x * 1), rand(2, 3, 4))


@pytest.mark.parametrize(
    "call",
    [
        lambda x: x.view(4, -1) @ x.view(size=(6, 4)) + x.flatten(1).sum(),
        lambda x: x.transpose(0, 1).reshape(-1) * x.flatten() * x.reshape(shape=(24,)),
        lambda x: x.reshape_as(rand(4, 6)) * x.view_as(rand(4, 6)),
        lambda x: x.unflatten(2, (2, 2)) * torch.unflatten(x, -1, (2, 2)),
        lambda x: x.mT @ x + x[0].T.sum(),
        lambda x: (x.detach() + x[0, 0, :1]).view(2, 12),  # its tangent is one number
        lambda x: torch.reshape(x, (2, 12)) * torch.flatten(x, 1),
    ],
)
def test_other_shapes(call):
    ruled(call, rand(2, 3, 4))


@pytest.mark.parametrize(
    "call",
    [
        lambda x: x.chunk(2, -1)[0] * x.chunk(2, dim=2)[1],
        lambda x: torch.chunk(x, 2, 1)[1] + sum(c.sum() for c in x.chunk(3, 1)),
        lambda x: x.split(2, 2)[0] * x.split([1, 2, 1], dim=-1)[1],
        lambda x: torch.split(x, 1, 1)[2] + x.split_with_sizes([1, 2], 1)[0],
        lambda x: x.unbind()[0] * torch.unbind(x, 0)[1] + x.unbind(dim=1)[0].sum(),
        lambda x: x.tensor_split(2, 1)[1] + torch.tensor_split(x, [1, 2], dim=1)[1],
        lambda x: torch.split_with_sizes(x, [3, 1], -1)[1],
    ],
)
def test_parts(call):
    ruled(call, rand(2, 3, 4))


@pytest.mark.parametrize(
    "call",
    [
        lambda x, y: torch.stack([x, rand(2, 3), x * 2]) * torch.stack((y, x, y), dim=0),
        lambda x, y: torch.stack([x, y], -1) + torch.column_stack([x[0], y[0]])[0, 0],
        lambda x, y: torch.hstack([x, y]) + torch.vstack([x, y]).sum() + torch.dstack([x, y]).sum(),
        lambda x, y: torch.concatenate([x, y, rand(1, 3)], 0) + torch.cat([x, y], dim=1).sum(),
    ],
)
def test_joining(call):
    ruled(call, rand(2, 3), rand(2, 3, seed=1))


@pytest.mark.parametrize(
    "call",
    [
        lambda x: F.pad(x, (1, 2)) + F.pad(x, (1, 2), value=7.0),
        lambda x: F.pad(x, (0, 0, 1, 1), "constant", 3),
        lambda x: F.pad(x, (1, 1), mode="reflect") + F.pad(x, [1, 1], "replicate"),
        lambda x: F.pad(x, (2, 1), mode="circular") + F.pad(x, (-1, 4)),
    ],
)
def test_padding(call):
    ruled(call, rand(2, 3, 4))


def test_keywords_for_the_first_argument():
    observe(lambda x: torch.sum(input=x, dim=0) + torch.mean(input=x), rand(2, 3), expect=EITHER)
    observe(lambda x: torch.flatten(input=x) * 1, rand(2, 3), expect=EITHER)
