"""The mean trusted gradient of several ranks, against their sums by hand."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from reweight._trusted.joint import JointGradient, joint_gradient
from tests.comparing import assert_same

CPU = torch.device("cpu")
SHAPES = {"matrix": (2, 3), "vector": (4,), "scalar": (), "nobody": (3,)}
Own = tuple[Tensor, Tensor | int, dict[str, Tensor]] | None


def joint(parameters: dict[str, Tensor], ranks: list[Own]) -> list[JointGradient]:
    """What each rank gets, when all of them call."""
    sent: list[Tensor] = []

    def keep(message: Tensor) -> Tensor:
        sent.append(message.clone())
        return message

    def total(message: Tensor) -> Tensor:
        return torch.stack(sent).sum(0).to(message)

    for own in ranks:
        joint_gradient(keep, parameters, CPU, own)
    return [joint_gradient(total, parameters, CPU, own) for own in ranks]


def made(dtype: torch.dtype) -> Callable[[tuple[int, ...]], Tensor]:
    random = torch.Generator(torch.get_default_device()).manual_seed(3)
    return lambda shape: torch.randn(shape, generator=random, dtype=torch.float32).to(dtype)


@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.float64, 1e-15), (torch.float32, 1e-6), (torch.bfloat16, 1e-2), (torch.cfloat, 1e-6)],
)
@pytest.mark.parametrize("as_tensor", [False, True])
def test_it_is_the_mean_over_all_losses_of_all_ranks(dtype, tolerance, as_tensor):
    new = made(dtype)
    if dtype.is_complex:
        plain, new = made(torch.float32), lambda shape: torch.complex(plain(shape), plain(shape))
    parameters = {name: new(shape) for name, shape in SHAPES.items()}
    numbers, losses = [3, 0, 5], [0.5, 0.0, 2.0]
    have = [("matrix", "vector"), (), ("matrix", "scalar")]
    gradients = [{name: new(SHAPES[name]) for name in names} for names in have]
    ranks: list[Own] = [
        (torch.tensor(loss), torch.tensor(number) if as_tensor else number, gradient)
        for loss, number, gradient in zip(losses, numbers, gradients, strict=True)
    ]
    for found, number in zip(joint(parameters, ranks), numbers, strict=True):
        assert float(found.loss) == pytest.approx((3 * 0.5 + 5 * 2.0) / 8)
        assert float(found.share) == pytest.approx(number / 8)
        assert found.failed == 0
        assert found.gradient.keys() == {"matrix", "vector", "scalar"}
        for name, gradient in found.gradient.items():
            assert gradient.dtype == dtype
            total = sum(
                count * each[name].to(torch.complex128)
                for count, each in zip(numbers, gradients, strict=True)
                if name in each
            )
            assert isinstance(total, Tensor)
            both = torch.view_as_real(gradient.to(torch.complex128)), torch.view_as_real(total / 8)
            assert_same(*both, tolerance)


def test_half_precision_does_not_overflow_on_the_way():
    large = torch.full((2,), 6e4, dtype=torch.float16)
    ranks: list[Own] = [(torch.tensor(1.0), 1000, {"p": large}), (torch.tensor(1.0), 1000, {})]
    for found in joint({"p": large}, ranks):
        assert_same(found.gradient["p"], large / 2, 1e-3)


def test_nothing_counts_anywhere():
    ranks: list[Own] = [(torch.tensor(0.0), torch.tensor(0), {})] * 2
    for found in joint({"p": torch.ones(2)}, ranks):
        assert float(found.loss) == float(found.share) == 0.0
        assert found.gradient == {}


def test_a_rank_that_has_failed_is_counted():
    p = torch.ones(2)
    found, _ = joint({"p": p}, [(torch.tensor(1.0), 2, {"p": p}), None])
    assert found.failed == 1
