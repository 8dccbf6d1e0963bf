"""Normalisation of each sample by itself."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.derivative.beside_training.observing import observe, observe_module
from tests.derivative.beside_training.ruling import reruns, ruled
from tests.derivative.beside_training.test_rules import f64, rand
from tests.device import accelerators

NORMS: dict[str, tuple[Callable[..., Tensor], int]] = {
    "layer": (lambda x, w, b: F.layer_norm(x, (4,), w, b), 4),
    "layer, keywords": (lambda x, w, b: F.layer_norm(x, [4], weight=w, bias=b, eps=0.1), 4),
    "group": (lambda x, w, b: F.group_norm(x, 3, w, b), 6),
    "group, keywords": (lambda x, w, b: F.group_norm(x, 2, weight=w, bias=b, eps=0.1), 6),
    "one group": (lambda x, w, b: F.group_norm(x, 1, w, b), 6),
    "instance": (lambda x, w, b: F.instance_norm(x, None, None, w, b), 6),
    "instance, keywords": (lambda x, w, b: F.instance_norm(x, weight=w, bias=b, eps=0.1), 6),
}


@pytest.mark.parametrize("moving", ["x", "w", "b", "xw", "xb", "wb", "xwb"])
@pytest.mark.parametrize("name", NORMS)
def test_whatever_moves(name, moving):
    norm, size = NORMS[name]
    given = {"x": rand(2, 6, 3, 4), "w": rand(size, seed=1), "b": rand(size, seed=2)}

    def program(*moved: Tensor) -> Tensor:
        now = {**given, **dict(zip(moving, moved, strict=True))}
        return norm(now["x"], now["w"], now["b"])

    ruled(program, *(given[part] for part in moving))


@pytest.mark.parametrize(
    "call",
    [
        lambda x, w: F.layer_norm(x, (3, 4)) + w,
        lambda x, w: F.layer_norm(x, (3, 4), w.expand(3, 4)),
        lambda x, w: F.layer_norm(x, (4,), None, w),
        lambda x, w: F.layer_norm(x.transpose(1, 2), (6, 4)) + w,
        lambda x, w: F.group_norm(x, 3) + F.group_norm(x.transpose(2, 3), 2).transpose(2, 3) + w,
        lambda x, w: F.group_norm(x[:, :4, 0, 0], 2, w) + F.group_norm(x[:, :, 0], 6)[:, :4, 0],
        lambda x, w: F.instance_norm(x) + F.instance_norm(x[:, :, None])[:, :, 0] + w,
        lambda x, w: F.rms_norm(x, (4,)) + F.rms_norm(x, (4,), w) + F.rms_norm(x, [4], eps=0.1),
        lambda x, w: F.rms_norm(x, (3, 4), w.expand(3, 4), 1e-3),
        lambda x, w: F.rms_norm(x.detach(), (4,), weight=w) * x,
        lambda x, w: F.rms_norm(x, (4,), weight=w.detach()) * w,
    ],
)
def test_other_forms(call):
    ruled(call, rand(2, 6, 3, 4), rand(4, seed=1))


def test_memory_in_another_order():
    def program(x: Tensor) -> Tensor:
        return F.group_norm(x.to(memory_format=torch.channels_last), 2)

    ruled(program, rand(2, 6, 3, 4), forward_mode=False)  # which takes no other order


@pytest.mark.parametrize(
    "norm", [lambda x: F.layer_norm(x, (4,)), lambda x: F.group_norm(x, 2), F.instance_norm]
)
def test_statistics_are_computed_anew_where_hooks_of_others_keep_them(norm):
    def program(x: Tensor) -> Tensor:
        with torch.autograd.graph.saved_tensors_hooks(lambda x: x * 1, lambda x: x):
            return norm(x)

    ruled(program, rand(2, 6, 3, 4))


def test_running_statistics_of_instances_are_left_to_a_second_run():
    def layer() -> nn.Module:
        norm = nn.InstanceNorm2d(3, affine=True, track_running_stats=True)
        return nn.Sequential(nn.Conv2d(2, 3, 1), norm)

    observe_module(layer, rand(2, 2, 3, 4))
    with reruns() as found:
        observe_module(lambda: layer().eval(), rand(2, 2, 3, 4))
    assert found


@pytest.mark.parametrize("dtype", [f64, torch.float32])
@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.LayerNorm(4),
        lambda: nn.LayerNorm(4, bias=False),
        lambda: nn.LayerNorm((3, 4), elementwise_affine=False),
        lambda: nn.RMSNorm(4),
    ],
)
def test_layers(make, dtype):
    x = rand(2, 3, 2, dtype=dtype) + 5  # far from 0: a difference of large numbers
    observe_module(
        lambda: nn.Sequential(nn.Linear(2, 4), make()).to(dtype),
        x,
        tolerance=1e-10 if dtype == f64 else 3e-5,
    )


@pytest.mark.skipif(bool(accelerators()), reason="GPUs have no layer norm of mixed types")
def test_mixed_types_are_left_to_a_second_run():
    x = rand(2, 4, dtype=torch.float32)
    observe(lambda x, w: F.layer_norm(x.bfloat16(), (4,), w).float(), x, x[0] + 1, tolerance=2e-2)
