"""Checkpointing, saved tensor hooks, and modes of others, around the pass and within it."""

from __future__ import annotations

import functools

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.graph import disable_saved_tensors_hooks, save_on_cpu, saved_tensors_hooks
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import (
    CheckpointPolicy,
    checkpoint,
    create_selective_checkpoint_contexts,
)

from reweight._derivative.beside_training import NotFollowed, TangentMode
from tests.derivative.beside_training.observing import FOLLOWED, REFUSED, observe, observe_module
from tests.derivative.beside_training.test_rules import rand


def save_products(_ctx, operator, *_args, **_kwargs):
    if operator == torch.ops.aten.mm.default:
        return CheckpointPolicy.MUST_SAVE
    return CheckpointPolicy.PREFER_RECOMPUTE


SELECTIVE = functools.partial(create_selective_checkpoint_contexts, save_products)


@pytest.mark.parametrize(
    ("options", "expect"),
    [
        ({"use_reentrant": False}, FOLLOWED),
        ({"use_reentrant": True}, REFUSED),
        # It keeps results by operator, in order; those of the tangents would be mixed with them.
        ({"use_reentrant": False, "context_fn": SELECTIVE}, REFUSED),
    ],
)
def test_activation_checkpointing(options, expect):
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(3, 4)
            self.body = nn.Sequential(
                nn.Linear(4, 4), nn.BatchNorm1d(4), nn.ReLU(inplace=True), nn.Dropout(0.4)
            )

        def forward(self, x: Tensor) -> Tensor:
            h = self.first(x)
            return torch.mm(checkpoint(self.body, h, **options), h.t())

    # The reentrant kind refuses torch.autograd.grad, and so the tests' own reference.
    if options["use_reentrant"]:
        model = Model()
        with TangentMode([(p, torch.ones_like(p)) for p in model.parameters()]) as mode:
            out = model(rand(4, 3).float())
        with pytest.raises(NotFollowed):
            mode.tangent_of(out)
        out.sum().backward()
        assert all(p.grad is not None for p in model.parameters())
    else:
        observe_module(Model, rand(4, 3), expect=expect)


def norm(x: Tensor) -> Tensor:
    return F.batch_norm(x.sin(), None, None, training=True).exp().relu()


def test_saved_tensor_hooks():
    """The caller's go first, and are asked for nothing before the backward pass."""
    unpacked = []

    def unpack(x: Tensor) -> Tensor:
        unpacked.append(x)
        return x

    def inside(x: Tensor) -> Tensor:
        unpacked.clear()
        with saved_tensors_hooks(lambda x: x.clone(), unpack):
            out = norm(x)
        assert not unpacked
        return out

    observe(inside, rand(4, 3))
    with save_on_cpu():
        observe(norm, rand(4, 3))
    with disable_saved_tensors_hooks("not here"):
        observe(norm, rand(4, 3))


def test_hooks_barred_within_the_pass():
    def program(x: Tensor) -> Tensor:
        with disable_saved_tensors_hooks("not here"):
            return norm(x) * x

    observe(program, rand(4, 3))


class Smooth(TorchFunctionMode):
    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is F.relu:
            return torch.sigmoid(args[0])
        return func(*args, **(kwargs or {}))


class Counting(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += 1
        return func(*args, **(kwargs or {}))


def test_modes():
    def inside(x: Tensor) -> Tensor:
        with Smooth():
            return F.relu(x * 2)

    observe(inside, rand(3))
    with Smooth():
        observe(lambda x: F.relu(x * 2), rand(3), expect=REFUSED)
    with torch.device("cpu"):
        observe(lambda x: F.relu(x * 2) * torch.ones(3), rand(3))

    counts = []

    def counted(x: Tensor) -> Tensor:
        with Counting() as mode:
            out = F.relu(x * 2)
        counts.append(mode.count)
        return out

    observe(counted, rand(3), expect=REFUSED)
    assert counts[0] == counts[1]
