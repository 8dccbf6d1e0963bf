"""What changes behind a tensor: through its views, its data, or under its name."""

# ruff: noqa: ARG001 - programs of one table have one signature

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.derivative.beside_training.observing import EITHER, FOLLOWED, REFUSED, observe
from tests.derivative.beside_training.test_rules import rand


def through_a_view(x: Tensor, y: Tensor) -> Tensor:
    h = x * 2
    h[:, 0].add_(1)
    return h * x


def slice_assigned(x: Tensor, y: Tensor) -> Tensor:
    h = x * 2
    view = h[1:]
    view += y
    return h.sum() * view


def old_view(x: Tensor, y: Tensor) -> Tensor:
    h = x.view(-1) * 2
    view = h[:4]
    h.mul_(3)
    return view * y


def constant_written(x: Tensor, y: Tensor) -> Tensor:
    buffer = torch.zeros(3, 4, dtype=x.dtype)
    for i, row in enumerate(x.unbind()):
        buffer[i] = row * y
    return buffer * y


def view_of_a_constant_written(x: Tensor, y: Tensor) -> Tensor:
    buffer = torch.zeros(3, 4, dtype=x.dtype)
    before = buffer[0]
    buffer[0].copy_(y)
    return buffer + before + x


def unbound(x: Tensor, y: Tensor) -> Tensor:
    first, second, third = (x * 2).clone().split(1)
    return torch.cat([first * second, third]).add_(y)


def written_without_recording(x: Tensor, y: Tensor) -> Tensor:
    h = x * 2
    with torch.no_grad():
        h.mul_(3)
    return h * y


def leaf_written_without_recording(x: Tensor, y: Tensor) -> Tensor:
    with torch.no_grad():
        x.mul_(3)
    return x * y


def data_written(x: Tensor, y: Tensor) -> Tensor:
    h = x * 2
    h.data.mul_(3)
    return h * y + h.sin()


def data_replaced(x: Tensor, y: Tensor) -> Tensor:
    h = x * 2
    h.data = torch.ones_like(x)
    return h * y


def lists_of_tensors(x: Tensor, y: Tensor) -> Tensor:
    h = x * 2
    torch._foreach_mul_([h], 3.0)
    return h * y


def list_of_constants(x: Tensor, y: Tensor) -> Tensor:
    buffer = torch.zeros(3, 4, dtype=x.dtype)
    torch._foreach_add_([buffer], [x * y])
    return buffer * 1


def cut_off_and_a_leaf_again(x: Tensor, y: Tensor) -> Tensor:
    h = x * 2
    h.detach_()
    return h.requires_grad_() * y


def written_into_a_part(x: Tensor, y: Tensor) -> Tensor:
    z = torch.zeros(3, 4, dtype=torch.complex128)
    z.real = x
    return (z * y).abs()


def leaves_of_its_own(x: Tensor, y: Tensor) -> Tensor:
    own = [
        torch.zeros_like(x * 2, requires_grad=True),
        torch.rand_like(x * 2, requires_grad=True),
        torch.asarray((x * 2).detach(), copy=True, requires_grad=True),
    ]
    return sum(own) * y + x


def leaf_from_the_graph(x: Tensor, y: Tensor) -> Tensor:
    h = torch.exp(y * x)
    saved = torch.mm(h, x.t()).grad_fn._saved_mat2  # x itself, under another name
    return saved.t() * y


@pytest.mark.parametrize(
    ("program", "expect"),
    [
        (through_a_view, EITHER),
        (slice_assigned, EITHER),
        (old_view, EITHER),
        (constant_written, FOLLOWED),
        (view_of_a_constant_written, EITHER),
        (unbound, FOLLOWED),
        (written_without_recording, EITHER),
        (leaf_written_without_recording, EITHER),
        (data_written, FOLLOWED),
        (data_replaced, FOLLOWED),
        (lists_of_tensors, EITHER),
        (list_of_constants, EITHER),
        (cut_off_and_a_leaf_again, EITHER),
        (written_into_a_part, EITHER),
        (leaves_of_its_own, FOLLOWED),
        (leaf_from_the_graph, EITHER),
    ],
)
def test_what_changes_behind_a_tensor(program, expect):
    observe(program, rand(3, 4), rand(4, seed=1), expect=expect)


def test_what_cannot_be_seen_is_refused():
    """The same, where a tangent could only be guessed."""
    for program in (through_a_view, old_view, written_without_recording):
        observe(program, rand(3, 4), rand(4, seed=1), expect=REFUSED)
