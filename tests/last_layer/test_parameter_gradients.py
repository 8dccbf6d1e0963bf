"""Gradients of each sample by the layer's own weights, against a backward pass a sample."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from reweight._last_layer import parameter_gradients
from reweight._last_layer.parameter_gradients import per_sample_gradients
from reweight._last_layer.trace import LayerTrace
from tests.comparing import assert_same

SAMPLES = 3
SMALL = st.integers(1, 3)


@st.composite
def convolutions(draw):
    """A convolution and the sides of a map that it goes over."""
    dimensions, groups = draw(SMALL), draw(st.sampled_from([1, 2]))
    sides = [draw(st.integers(5, 7)) for _ in range(dimensions)]
    make = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[dimensions - 1]

    def one_each(sizes):
        return tuple(draw(sizes) for _ in range(dimensions))

    layer = make(
        groups * draw(SMALL),
        groups * draw(SMALL),
        kernel_size=one_each(SMALL),
        stride=one_each(SMALL),
        padding=one_each(st.integers(0, 2)),
        dilation=one_each(st.integers(1, 2)),
        groups=groups,
        bias=draw(st.booleans()),
    )
    return layer.double(), sides


def gradients(layer, x, rows):
    trace = LayerTrace(layer, layer, dict(layer.named_parameters()))
    return per_sample_gradients(trace, x, rows)


@given(convolutions(), st.integers(1, 30))
def test_offsets_of_a_kernel_may_go_several_at_a_time(convolution, at_once):
    layer, sides = convolution
    x = torch.randn(SAMPLES, layer.in_channels, *sides, dtype=torch.float64)
    out = layer(x)
    rows = torch.randn_like(out)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parameter_gradients, "_offsets_at_once", lambda _: at_once)
        found = gradients(layer, x, rows)
    parameters = list(layer.parameters())
    for i in range(SAMPLES):
        total = (layer(x[i : i + 1]) * rows[i]).sum()
        for own, expected in zip(found, torch.autograd.grad(total, parameters), strict=True):
            assert_same(own[i], expected, 1e-12)


@pytest.mark.parametrize("shape", [(5,), (5, 4), (5, 2, 3)])
def test_a_linear_layer_may_be_given_several_rows_a_sample(shape):
    layer = nn.Linear(4, 3).double()
    x = torch.randn(*shape, 4, dtype=torch.float64)
    rows = torch.randn(*shape, 3, dtype=torch.float64)
    found = gradients(layer, x, rows)
    for i in range(5):
        total = (layer(x[i]) * rows[i]).sum()
        expected = torch.autograd.grad(total, list(layer.parameters()))
        for own, each in zip(found, expected, strict=True):
            assert_same(own[i], each, 1e-12)


def test_few_offsets_are_copied_at_once_and_none_on_a_cpu():
    assert parameter_gradients._offsets_at_once(torch.ones(9, device="cpu")) == 1
    assert parameter_gradients._offsets_at_once(torch.ones(2, 2**21, device="meta")) == 2
    assert parameter_gradients._offsets_at_once(torch.ones(2**25, device="meta")) == 1
