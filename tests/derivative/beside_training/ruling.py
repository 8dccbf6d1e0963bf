"""A program whose every operator has a rule: nothing of it is run a second time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from reweight._derivative.beside_training import TangentMode
from reweight._derivative.beside_training.rerun import Rerun
from tests.comparing import assert_same
from tests.derivative.beside_training.observing import Program, observe
from tests.device import accelerators


@contextmanager
def reruns() -> Iterator[Counter[str]]:
    """Count the operators that are run a second time in the body."""
    found: Counter[str] = Counter()
    inner = Rerun.tangents

    def tangents(self: Rerun) -> list[Tensor | None]:
        found[getattr(self._func, "__qualname__", str(self._func))] += 1
        return inner(self)

    Rerun.tangents = tangents
    try:
        yield found
    finally:
        Rerun.tangents = inner


def ruled(
    program: Program,
    *values: Tensor,
    expect_rerun: bool = False,
    forward_mode: bool = True,
    tolerance: float = 1e-10,
    **options: Any,
) -> None:
    """Check a function of leaves against reverse mode and against ``torch.func.jvp``.

    Args:
        program: Computes one tensor of leaves with these values.
        values: In float64.
        expect_rerun: Whether an operator of it is expected to have no rule for what it is given.
        forward_mode: Whether PyTorch's own forward mode is right for it.
        tolerance: Of the largest entry.
        options: For :func:`~tests.derivative.beside_training.observing.observe`.
    """
    with reruns() as found:
        observe(program, *values, tolerance=tolerance, **options)
    assert bool(found) == expect_rerun, f"run a second time: {dict(found)}"
    if not forward_mode:
        return
    torch.manual_seed(3)
    direction = tuple(torch.randn_like(x) for x in values)
    leaves = [x.clone().requires_grad_() for x in values]
    torch.manual_seed(1)
    with TangentMode(zip(leaves, direction, strict=True), accelerators()) as mode:
        out = program(*leaves)
    torch.manual_seed(1)
    with sdpa_kernel(SDPBackend.MATH):
        expected = torch.func.jvp(program, values, direction)[1]
    assert_same(mode.tangent_of(out), expected, tolerance)
