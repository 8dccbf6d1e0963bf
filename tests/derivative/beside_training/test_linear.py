"""Operators that do to the tangent what they do to their first argument."""

from __future__ import annotations

import pytest
import torch

from reweight._derivative.beside_training import elementwise
from tests.derivative.beside_training.observing import EITHER, observe
from tests.derivative.beside_training.test_rules import rand

FORMS = {
    "contiguous": [lambda f, x: f(x.transpose(0, 1)), lambda f, x: f(x)],
    "flatten": [
        lambda f, x: f(x),
        lambda f, x: f(x, 1),
        lambda f, x: f(x, start_dim=0, end_dim=1),
    ],
    "mean": [
        lambda f, x: f(x, 1),
        lambda f, x: f(x, dim=(0, 2), keepdim=True),
        lambda f, x: f(x, 0, dtype=torch.float32),
        lambda f, x: f(x)[None],
    ],
    "permute": [lambda f, x: f(x, (2, 0, 1)), lambda f, x: f(x, dims=(1, 0, 2))],
    "reshape": [lambda f, x: f(x, (4, 6)), lambda f, x: f(x.transpose(0, 1), shape=(-1,))],
    "squeeze": [lambda f, x: f(x[:, :1]), lambda f, x: f(x[:1], 0), lambda f, x: f(x, dim=1)],
    "sum": [
        lambda f, x: f(x, -1),
        lambda f, x: f(x, dim=(0, 1)),
        lambda f, x: f(x, 1, dtype=torch.float32),
        lambda f, x: f(x, 1, True),
    ],
    "transpose": [lambda f, x: f(x, 0, 2), lambda f, x: f(x, dim0=1, dim1=-1)],
    "unsqueeze": [lambda f, x: f(x, 1), lambda f, x: f(x, dim=-1)],
    "view": [lambda f, x: f(x, (4, -1)), lambda f, x: f(x, 2, 12), lambda f, x: f(x, size=(24,))],
    "avg_pool1d": [lambda f, x: f(x, 2), lambda f, x: f(x, kernel_size=3, padding=1)],
    "avg_pool2d": [lambda f, x: f(x, 2, 1), lambda f, x: f(x, 2, ceil_mode=True)],
    "avg_pool3d": [lambda f, x: f(x[None], (2, 1, 2)), lambda f, x: f(x[None], 1, stride=2)],
}


@pytest.mark.parametrize("operator", elementwise.LINEAR, ids=lambda f: f"{f.__name__}")
def test_what_is_linear(operator):
    for form in FORMS[operator.__name__]:
        observe(lambda x, form=form: form(operator, x * 1), rand(2, 3, 4), tolerance=1e-6)


def test_keywords_for_the_first_argument():
    observe(lambda x: torch.sum(input=x, dim=0) + torch.mean(input=x), rand(2, 3), expect=EITHER)
    observe(lambda x: torch.flatten(input=x) * 1, rand(2, 3), expect=EITHER)
