"""‖Zᵀ A‖² from products of positions, where the positions cancel."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from reweight import LastLayerGradient, MetaReweighter
from tests import oracle
from tests.comparing import assert_same

TOLERANCES = {torch.float32: 1e-3, torch.float64: 1e-6}


def squared(model, batch):
    """Its gradient by z at each position is what ``batch[1]`` says."""
    return (model(batch[0]) * batch[1]).sum((1, 2))


def cancelling(dtype, apart, positions, bias):
    """Positions of opposite gradients that were fed nearly the same."""
    model = nn.Linear(64, 48, bias=bias).double()
    fed = torch.randn(6, 1, 64).double().expand(6, positions, 64)
    fed = fed + apart * torch.randn(6, positions, 64).double()
    gradients = torch.randn(6, positions, 48).double()
    gradients = gradients - gradients.mean(1, keepdim=True)
    # Half of the samples do not cancel.
    gradients[::2] = torch.randn(3, positions, 48).double()
    batch = fed.to(dtype), gradients.to(dtype)
    return model.to(dtype), batch


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("apart", [1.0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5])
@pytest.mark.parametrize("positions", [2, 8, 16])
@pytest.mark.parametrize("bias", [True, False])
def test_cancelling_positions_keep_their_digits(dtype, apart, positions, bias):
    model, batch = cancelling(dtype, apart, positions, bias)
    weigh = MetaReweighter(model, forward=squared, scorer=LastLayerGradient())
    found = weigh.score(batch).scores["last_layer_gradient"]
    # From the numbers as they were rounded, in double precision.
    exact = [tensor.double() for tensor in batch]
    expected = oracle.last_layer_norms(nn.Sequential(model.double()), squared, exact, "0")
    for one, true in zip(found, expected, strict=True):
        assert_same(one, true, TOLERANCES[dtype])


def test_positions_that_do_not_cancel_take_the_products(monkeypatch):
    from reweight._last_layer import norms_per_sample

    def refuse(*_):
        raise AssertionError("the direct form, though nothing cancels")

    monkeypatch.setattr(norms_per_sample, "_norms_from_gradients", refuse)
    model = nn.Linear(64, 48)
    batch = torch.randn(6, 16, 64), torch.randn(6, 16, 48)
    MetaReweighter(model, forward=squared, scorer=LastLayerGradient()).score(batch)
