"""Precisions of the model, and hooks on its forward pass."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from reweight import MetaReweighter
from tests.problems import float64

LOSS = nn.CrossEntropyLoss(reduction="none")


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8), nn.GELU(), nn.Linear(8, 3))


def data(count: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    return torch.randn(count, 6).to(dtype), torch.randint(3, (count,))


PRECISIONS = {
    torch.float64: ("float64", "exact", 1e-12),
    torch.float32: ("float32", "exact", 1e-5),
    torch.bfloat16: ("bfloat16", "exact, to the precision of bfloat16", 0.05),
}


@pytest.mark.parametrize(
    "dtype",
    [
        pytest.param(
            dtype, marks=pytest.mark.compatibility("precision", f"Models in {name}", result)
        )
        for dtype, (name, result, _) in PRECISIONS.items()
    ],
)
def test_scores_are_as_exact_as_the_model_is(dtype):
    model = network().to(dtype)
    report = MetaReweighter(model, LOSS).check(data(8, dtype), data(6, dtype))
    assert len(report.scorers) == 4
    for row in report.scorers:
        assert row.error is not None
        assert row.error < PRECISIONS[dtype][2], row


@pytest.mark.compatibility(
    "precision", "Parts of a model in float32 and bfloat16", "exact, to the precision of bfloat16"
)
def test_a_model_of_two_precisions():
    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.head = nn.Linear(6, 8).bfloat16(), nn.Linear(8, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.body(x.bfloat16()).float().tanh())

    report = MetaReweighter(Mixed(), LOSS).check(data(8, torch.float32), data(6, torch.float32))
    assert report.ok, report
    assert all(row.error < 0.05 for row in report.scorers)


def doubled(_module: nn.Module, _args: object, output: Tensor) -> Tensor:
    return 2 * output.sin()


def shifted(_module: nn.Module, args: tuple[Tensor]) -> tuple[Tensor]:
    return (args[0] + 0.5,)


FORWARD_HOOKS: dict[str, tuple[str, Callable[..., object]]] = {
    "register_forward_hook": ("Module.register_forward_hook", doubled),
    "register_forward_pre_hook": ("Module.register_forward_pre_hook", shifted),
}


@pytest.mark.parametrize("layer", [0, 3])
@pytest.mark.parametrize(
    "register",
    [
        pytest.param(name, marks=pytest.mark.compatibility("hook", what, "exact"))
        for name, (what, _) in FORWARD_HOOKS.items()
    ],
)
def test_hooks_that_change_what_a_layer_computes(register, layer):
    with float64():
        model = network()
        getattr(model[layer], register)(FORWARD_HOOKS[register][1])
        report = MetaReweighter(model, LOSS).check(data(8, torch.float64), data(6, torch.float64))
    assert all(row.error < 1e-12 for row in report.scorers), report
