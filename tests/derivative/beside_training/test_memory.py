"""Tangents go when what they belong to goes, followed or not."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch
from torch import Tensor, nn

from reweight._derivative.beside_training import NotFollowed, TangentMode
from tests.derivative.beside_training.test_rules import rand

DEPTH = 6


def observed(
    blocks: list[nn.Module], x: Tensor, *, alive: list[int] | None = None
) -> tuple[TangentMode, Tensor]:
    """Run the blocks one after the other, counting tangents in reach after each."""
    parameters = [p for block in blocks for p in block.parameters()]
    with TangentMode([(p, torch.randn_like(p)) for p in parameters]) as mode:
        for block in blocks:
            x = block(x)
            if alive is not None:
                alive.append(len(mode._entries) - len(parameters))
    return mode, x


@pytest.mark.parametrize(
    "layer",
    [
        nn.ReLU,
        lambda: nn.ReLU(inplace=True),
        nn.PReLU,
        nn.Tanh,
        nn.GELU,
        lambda: nn.BatchNorm1d(4),
        lambda: nn.Softmax(-1),
        lambda: nn.Dropout(0.5),
    ],
)
def test_no_more_than_the_activations_in_use(layer):
    """The graph keeps activations of all blocks, and the tangent of none but the last."""
    blocks = [nn.Sequential(nn.Linear(4, 4), layer()).double() for _ in range(DEPTH)]
    alive: list[int] = []
    mode, out = observed(blocks, rand(3, 4), alive=alive)
    assert max(alive) == 1
    assert mode.tangent_of(out).abs().max() > 0
    out.sum().backward()


def test_the_graph_keeps_no_tangent():
    blocks = [nn.Sequential(nn.Linear(4, 4), nn.Tanh()).double() for _ in range(DEPTH)]
    mode, out = observed(blocks, rand(3, 4))
    tangent = weakref.ref(mode.tangent_of(out))
    del mode
    assert tangent() is None
    out.sum().backward()


class Foreign(torch.autograd.Function):
    @staticmethod
    def forward(_ctx, x):
        return x.clone()

    @staticmethod
    def backward(_ctx, grad):
        return grad


class Refused(nn.Module):
    """Leaves a tensor that only its own frame knows."""

    def __init__(self, seen: list[weakref.ref[Tensor]]) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.seen = seen

    def forward(self, x: Tensor) -> Tensor:
        local = self.layer(x)
        self.seen.append(weakref.ref(local))
        return Foreign.apply(local) * 2.0


def test_a_refusal_keeps_nothing_alive():
    """A stored exception would: its traceback holds frames, and with them activations."""
    seen: list[weakref.ref[Tensor]] = []
    model = Refused(seen).double()
    gc.disable()
    try:
        mode, out = observed([model], rand(3, 4))
        with pytest.raises(NotFollowed):
            mode.tangent_of(out)
        assert not mode._entries
        assert seen[0]() is None
    finally:
        gc.enable()


def test_inference_is_not_observed():
    model = nn.Linear(4, 4).double()
    with TangentMode([(p, torch.ones_like(p)) for p in model.parameters()]) as mode:
        with torch.no_grad():
            out = model(rand(3, 4))
        with torch.inference_mode():
            model(rand(3, 4))
    assert mode.tangent_of(out).count_nonzero() == 0
