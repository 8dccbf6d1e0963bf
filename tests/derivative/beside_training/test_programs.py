"""Any small program: its tangents are those that autograd gives, or there are none."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from reweight._derivative.beside_training import NotFollowed, TangentMode
from tests.derivative.beside_training.observing import by_rows, graph, identical
from tests.derivative.beside_training.programs import CHANGE, LEAVES, NEW, Step, run
from tests.device import accelerators, random_state

steps = st.lists(
    st.tuples(st.sampled_from([*NEW, *CHANGE]), st.integers(0, 9), st.integers(0, 9)),
    min_size=1,
    max_size=9,
)


def leaves() -> list[Tensor]:
    torch.manual_seed(0)
    return [torch.randn(shape, dtype=torch.float64).requires_grad_() for shape in LEAVES]


def made(
    program: Sequence[Step], parameters: list[Tensor], mode: TangentMode | None
) -> tuple[list[Tensor], Tensor, str]:
    """Results, where the random numbers stand, and the error that ends the program, if any."""
    torch.manual_seed(1)
    try:
        if mode is None:
            results = run(program, parameters)
        else:
            with mode:
                results = run(program, parameters)
    except (RuntimeError, IndexError, ValueError) as error:
        return [], random_state(), f"{type(error).__name__}: {error}"
    return results, random_state(), ""


def usable(x: Tensor) -> bool:
    """False for parts of a tensor that was split and then overwritten: autograd refuses them."""
    try:
        x.view(x.shape)
    except RuntimeError:
        return False
    return True


def check(program: Sequence[Step]) -> tuple[int, int]:
    """Return how many results have a gradient, and of how many of them the tangent is known."""
    torch.manual_seed(2)
    direction = [torch.randn(shape, dtype=torch.float64) for shape in LEAVES]
    ours, others = leaves(), leaves()
    mode = TangentMode(zip(ours, direction, strict=True), accelerators())
    alone, random, error = made(program, others, None)
    observed, random_observed, error_observed = made(program, ours, mode)
    assert error_observed == error
    assert torch.equal(random_observed, random)
    total = known = 0
    for one, other in zip(observed, alone, strict=True):
        assert usable(one) == usable(other)
        if not usable(other):
            continue
        assert identical(one, other)
        assert one.requires_grad == other.requires_grad
        if not other.requires_grad:
            continue
        try:
            expected = by_rows(other, others, direction)
        except RuntimeError as error:  # overwritten, and needed
            # What detach_ does to a tensor that is needed, it does not do to its alias.
            if "detached in-place" not in str(error):
                with pytest.raises(RuntimeError):
                    by_rows(one, ours, direction)
            continue
        assert graph(one) == graph(other)
        assert identical(by_rows(one, ours, direction), expected)
        total += 1
        try:
            tangent = mode.tangent_of(one)
        except NotFollowed:
            continue
        known += 1
        torch.testing.assert_close(tangent, expected, rtol=1e-9, atol=1e-9)
    return total, known


@settings(max_examples=120)
@given(steps)
@example([("add", 2, 1), ("part scaled", 4, 1), ("sin", 4, 0)])
@example([("sin", 2, 0), ("cut and a leaf", 4, 0), ("mul", 4, 1)])
@example([("zeros", 2, 0), ("first written", 4, 0), ("mul", 4, 1)])
@example([("slice", 3, 2), ("add_", 3, 0), ("clamp_", 4, 0)])
@example([("view", 2, 0), ("iadd", 4, 1), ("mul", 2, 0)])
def test_programs(program):
    check(program)


def test_most_is_followed():
    """Nothing proves a tangent right like refusing them all."""
    source = torch.Generator(torch.get_default_device()).manual_seed(0)
    names = [*NEW, *CHANGE]

    def step() -> Step:
        name, i, j = torch.randint(1000, (3,), generator=source).tolist()
        return names[name % len(names)], i % 10, j % 10

    counts = [check([step() for _ in range(6)]) for _ in range(60)]
    total, known = (sum(column) for column in zip(*counts, strict=True))
    assert known > 0.6 * total
