"""Every rule, in every form in which its operators may be called."""
# ruff: noqa: ARG005 - programs of one table have one signature

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.derivative.beside_training.observing import observe, observe_module
from tests.device import accelerators

f64 = torch.float64


def rand(*shape: int, dtype: torch.dtype = f64, seed: int = 0) -> Tensor:
    generator = torch.Generator(torch.get_default_device()).manual_seed(seed)
    return torch.randn(shape, dtype=dtype, generator=generator)


LAYERS = {
    "linear": (F.linear, (2, 3), (4, 3), {}),
    "linear of a vector": (F.linear, (3,), (4, 3), {}),
    "linear of maps": (F.linear, (2, 2, 3), (4, 3), {}),
    "conv1d": (F.conv1d, (2, 2, 6), (4, 2, 3), {"stride": 2, "padding": 1}),
    "conv1d unbatched": (F.conv1d, (2, 6), (4, 2, 3), {}),
    "conv2d groups": (F.conv2d, (2, 4, 4, 3), (4, 2, 3, 2), {"groups": 2, "padding": (1, 0)}),
    "conv2d same": (F.conv2d, (1, 2, 4, 4), (4, 2, 2, 3), {"padding": "same", "dilation": 2}),
    "conv2d unbatched": (F.conv2d, (2, 4, 4), (4, 2, 3, 3), {"padding": "valid"}),
    "conv3d": (F.conv3d, (1, 2, 3, 3, 3), (4, 2, 2, 2, 2), {"dilation": (1, 2, 1)}),
    "conv3d unbatched": (F.conv3d, (2, 3, 3, 2), (4, 2, 2, 2, 2), {}),
    "transposed 1d": (F.conv_transpose1d, (2, 2, 3), (2, 4, 3), {"stride": 2, "padding": 1}),
    "transposed 2d": (
        F.conv_transpose2d,
        (1, 4, 2, 2),
        (4, 2, 3, 3),
        {"stride": 2, "padding": 1, "output_padding": 1, "groups": 2},
    ),
    "transposed 2d unbatched": (F.conv_transpose2d, (2, 2, 2), (2, 4, 2, 2), {"dilation": 2}),
    "transposed 3d": (F.conv_transpose3d, (1, 2, 2, 2, 2), (2, 4, 2, 2, 2), {}),
}


@pytest.mark.parametrize("moving", ["x", "w", "b", "xw", "xwb"])
@pytest.mark.parametrize("name", LAYERS)
def test_layers(name, moving):
    """Whatever of input, weight and bias moves, and whether there is a bias at all."""
    operator, shape, weight, options = LAYERS[name]
    given = {"x": rand(*shape), "w": rand(*weight, seed=1), "b": rand(4, seed=2)}

    def program(*moved: Tensor) -> Tensor:
        now = {**given, **dict(zip(moving, moved, strict=True))}
        bias = now["b"] if "b" in moving or operator is F.linear else None
        if bias is not None and options.get("groups") == 2 and "transposed" in name:
            bias = torch.cat([bias])  # also computed, not a leaf
        return operator(now["x"], now["w"], bias, **options)

    observe(program, *(given[part] for part in moving))


@pytest.mark.parametrize(
    "call",
    [
        lambda x, w, b: F.conv2d(x, w, b, 2, 1, 1, 1),
        lambda x, w, b: F.conv2d(x, w, bias=b, stride=2),
        lambda x, w, b: F.conv2d(x, weight=w, bias=b),
        lambda x, w, b: F.conv2d(input=x, weight=w, bias=b, padding="same"),
        lambda x, w, b: F.conv2d(x, w, None, padding=1) + b.view(-1, 1, 1),
        lambda x, w, b: F.conv_transpose2d(x, w.transpose(0, 1), b, 2, 1, 1, 1, 2),
    ],
)
def test_convolutions_however_called(call):
    observe(call, rand(2, 2, 4, 4), rand(3, 2, 3, 3, seed=1), rand(3, seed=2))


@pytest.mark.parametrize("shape", [(3,), (1,), (), (2, 1), (2, 3), (1, 3)])
def test_linear_bias_of_any_shape_that_broadcasts(shape):
    """As many samples as outputs would hide a bias that runs the wrong way."""
    for rows in (2, 3):
        bias = rand(*(rows if s == 2 else s for s in shape), seed=2)
        observe(lambda x, w, b: F.linear(x, w, b), rand(rows, 4), rand(3, 4, seed=1), bias)


@pytest.mark.parametrize(
    "call",
    [
        lambda a, b: torch.matmul(a, b[0, :, 0]),
        lambda a, b: a[0, 0] @ b,
        lambda a, b: a[0, 0] @ b[0, :, 0].reshape(-1) + torch.zeros(1, dtype=f64),
        lambda a, b: a[:, None].matmul(b),
        lambda a, b: torch.bmm(a, b) + a.bmm(b) + Tensor.bmm(a, mat2=b),
        lambda a, b: torch.mm(a[0], b[0]) + a[1].mm(b[1]) + torch.mm(input=a[0], mat2=b[1]),
        lambda a, b: torch.matmul(a, other=b) @ (a @ b).transpose(1, 2).detach(),
        lambda a, b: a @ a.transpose(1, 2) + b.sum(),
        lambda a, b: rand(4, 2, seed=9) @ a + b.mean() + a.detach().transpose(1, 2)[:, :1] @ a,
    ],
)
def test_matrix_products(call):
    observe(call, rand(2, 2, 3), rand(2, 3, 2, seed=1))


@pytest.mark.parametrize("dtype", [f64, torch.float32])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("momentum", [0.1, None])
@pytest.mark.parametrize("statistics", [True, False])
@pytest.mark.parametrize("dimensions", [0, 1, 2, 3])
def test_batch_norm(dimensions, statistics, momentum, affine, training, dtype):
    kind = [nn.BatchNorm1d, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d][dimensions]
    first = [nn.Identity, nn.Conv1d, nn.Conv2d, nn.Conv3d][dimensions]

    def make() -> nn.Module:
        norm = kind(3, momentum=momentum, affine=affine, track_running_stats=statistics)
        for buffer in norm.buffers():
            if buffer.is_floating_point():
                buffer.uniform_(0.5, 2)
        before = nn.Linear(2, 3) if dimensions == 0 else first(2, 3, 1)
        return nn.Sequential(before, norm).train(training).to(dtype)

    x = rand(4, 2, *[2] * dimensions, dtype=dtype)
    observe_module(make, x, tolerance=1e-9 if dtype == f64 else 2e-5)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("call", ["keywords", "positions", "only_bias", "only_weight"])
def test_batch_norm_called_by_hand(call, training):
    if call == "only_bias" and accelerators():
        pytest.skip("PyTorch's CUDA kernel returns a gradient of no numbers for a bias alone")
    mean, var = rand(3).abs(), rand(3, seed=1).abs() + 1

    def keywords(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
        m, v = mean.clone(), var.clone()
        return F.batch_norm(
            input=x, running_mean=m, running_var=v, bias=b, weight=w, training=training, eps=0.1
        )

    def positions(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
        return F.batch_norm(x, mean.clone(), var.clone(), w, b, training, 0.3, 1e-2)

    def only_bias(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
        return F.batch_norm(x.detach(), mean.clone(), var.clone(), None, b, training) * w.sum()

    def only_weight(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
        return F.batch_norm(x.detach(), mean.clone(), var.clone(), w, None, training) + b.sum()

    programs = (keywords, positions, only_bias, only_weight)
    program = {program.__name__: program for program in programs}[call]
    observe(program, rand(4, 3, seed=5), rand(3, seed=2), rand(3, seed=3))


@pytest.mark.parametrize("shape", [(4,), (3, 4), (2, 4, 3), (2, 4, 2, 2), (1, 4, 2, 1, 2)])
@pytest.mark.parametrize("slopes", [1, 4])
@pytest.mark.parametrize("moving", ["x", "a", "xa"])
def test_prelu(shape, slopes, moving):
    if len(shape) == 1 and slopes > 1:
        pytest.skip("PyTorch takes one slope only for a vector")
    x, a = rand(*shape), rand(slopes, seed=1)
    programs = {"x": lambda x: F.prelu(x, a), "a": lambda a: F.prelu(x, a), "xa": F.prelu}
    observe(programs[moving], *[{"x": x, "a": a}[part] for part in moving])
    observe(lambda x, a: F.prelu(input=x, weight=a), x, a)


@pytest.mark.parametrize(
    "call",
    [
        lambda x: F.relu(x),
        lambda x: F.relu(input=x),
        lambda x: F.relu(x * 1, True),
        lambda x: F.relu(x * 1, inplace=True),
        lambda x: F.relu(input=x * 1, inplace=True),
        lambda x: F.relu_(x * 1),
        lambda x: torch.relu_(x * 1) + torch.relu(x) + x.relu(),
        lambda x: (x * 1).relu_(),
        lambda x: nn.ReLU(inplace=True)(x * 1),
        lambda x: F.relu(x - x.detach()) + x,  # at zero
        lambda x: F.prelu(x - x.detach(), rand(1)) + x,
    ],
)
def test_rectifiers(call):
    observe(call, rand(3, 4))


@pytest.mark.parametrize(
    "call",
    [
        lambda x, y: torch.add(x, y, alpha=2.5) + x.add(y, alpha=-1),
        lambda x, y: torch.add(x, 2) + torch.add(input=x, other=y),
        lambda x, y: 1 + x + y + rand(2, 1, 1) + torch.tensor(3.0),
        lambda x, y: y + rand(2, 3, 4),
        lambda x, y: rand(2, 3, 4) + y,
        lambda x, y: x + x + x,
        lambda x, y: (x * 1).add_(y).add_(1).add_(y, alpha=3),
        lambda x, y: x.float() + y,
        lambda x, y: (x.float() * 1).add_(y).double(),
        lambda x, y: (x + y.float().mean() + 1j * y).abs(),
        lambda x, y: x.__radd__(y) + x.__add__(y),
        lambda x, y: sum([x, y, x * y]),
    ],
)
def test_sums(call):
    # What is rounded to single precision on the way is so in another order.
    observe(call, rand(3, 4), rand(4, seed=1), tolerance=1e-6)


def iadd(x: Tensor, y: Tensor) -> Tensor:
    z = x * 1
    z += y
    z += 2
    return z * x


@pytest.mark.parametrize(
    "call",
    [
        iadd,
        lambda x, y: torch.cat([x, rand(2, 4)]) * 2,
        lambda x, y: torch.cat((rand(3, 1), x, x), dim=1),
        lambda x, y: torch.concat([x, y[None]], dim=-2),
        lambda x, y: torch.cat(tensors=[x, y[None]], dim=0),
        lambda x, y: torch.cat([x.float(), y[None]]),
        lambda x, y: torch.concatenate([y, y]) + torch.hstack([x.sum(0), x.sum(0)]),
        lambda x, y: torch.cat([torch.empty(0, dtype=f64), y]) + x,
    ],
)
def test_sums_in_place_and_concatenations(call):
    observe(call, rand(3, 4), rand(4, seed=1), tolerance=1e-6)
