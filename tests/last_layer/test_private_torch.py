"""What is taken from PyTorch without its promise; where it changes, these say so first."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from reweight._last_layer import private_torch


def test_wrapped_tensors_are_told_and_unwrapped():
    seen = []

    def look(x):
        seen.append(x)
        inner = private_torch.unwrapped_tensor(x)
        assert private_torch.is_wrapped(x)
        assert not private_torch.is_wrapped(inner)
        assert inner.shape[-1] == 3
        return x.sin().sum()

    x = torch.randn(4, 3)
    torch.func.vmap(torch.func.hessian(look))(x)
    torch.func.jvp(look, (x,), (x,))
    assert len(seen) == 2
    assert not private_torch.is_wrapped(x)
    assert private_torch.unwrapped_tensor(x) is x


@pytest.mark.parametrize(
    "register",
    [
        lambda layer: layer.register_forward_hook(lambda *_: None),
        lambda layer: layer.register_forward_pre_hook(lambda *_: None),
        lambda layer: layer.register_full_backward_hook(lambda *_: None),
        lambda layer: layer.register_full_backward_pre_hook(lambda *_: None),
    ],
)
def test_hooks_of_every_kind_are_seen(register):
    layer = nn.Linear(2, 2)
    assert not private_torch.has_hooks(layer)
    handle = register(layer)
    assert private_torch.has_hooks(layer)
    handle.remove()
    assert not private_torch.has_hooks(layer)


@pytest.mark.parametrize("kind", [nn.Conv1d, nn.Conv2d, nn.Conv3d])
@pytest.mark.parametrize("padding", [1, 2, "same"])
def test_the_padding_of_a_convolution_is_as_pad_takes_it(kind, padding):
    layer = kind(1, 1, 3, padding=padding, padding_mode="circular", dilation=2)
    sides = len(layer.kernel_size)
    x = torch.randn(2, 1, *[6] * sides)
    padded = F.pad(x, private_torch.padding_of(layer), mode="circular")
    convolve = (F.conv1d, F.conv2d, F.conv3d)[sides - 1]
    torch.testing.assert_close(convolve(padded, layer.weight, layer.bias, dilation=2), layer(x))


def test_nodes_tell_the_shapes_that_they_computed():
    x = torch.randn(4, 3, requires_grad=True)
    assert private_torch.output_shape((x * 2).grad_fn) == (4, 3)
    assert private_torch.output_shape(x.sum().grad_fn) == ()
    assert private_torch.output_shape(x.unbind()[0].grad_fn) is None


@pytest.mark.parametrize(
    ("operator", "dimensions"),
    [
        (lambda x: x.log_softmax(-1), [-1]),
        (lambda x: x.softmax(1), [1]),
        (lambda x: x.sum((0, 2)), [0, 2]),
        (lambda x: x.mean(-2), [-2]),
        (lambda x: x.transpose(1, 2), [1, 2]),
        (lambda x: x.permute(0, 2, 1), [0, 2, 1]),
        (lambda x: x.select(2, 0), [2]),
        (lambda x: x[:, 1:], [1]),
        (lambda x: x.gather(1, torch.zeros(2, 1, 4, dtype=torch.long)), [1]),
        (lambda x: x.logsumexp(2), [2]),
        (lambda x: x * 2, None),
    ],
)
def test_nodes_tell_the_dimensions_that_they_worked_along(operator, dimensions):
    node = operator(torch.randn(2, 3, 4, requires_grad=True)).grad_fn
    found = private_torch.saved_dimensions(node)
    assert (found and [d % 3 for d in found]) == (dimensions and [d % 3 for d in dimensions])
