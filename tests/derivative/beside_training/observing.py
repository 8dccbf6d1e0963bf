"""One program run twice, alone and observed: the same run, and the tangent that autograd gives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from reweight._derivative.beside_training import NotFollowed, TangentMode
from tests.comparing import assert_same
from tests.device import accelerators, near, random_state
from tests.problems import float64

Program = Callable[..., Tensor]
FOLLOWED, REFUSED, EITHER = "followed", "refused", "either"


def observe(program: Program, *values: Tensor, expect: str = FOLLOWED, **options: Any) -> None:
    """Check ``program``, a function of leaves with these values."""

    def make() -> tuple[Program, list[Tensor]]:
        leaves = [value.clone().requires_grad_() for value in values]
        return lambda: program(*leaves), leaves

    _check(make, list, expect, **options)


def observe_module(
    make_model: Callable[[], nn.Module],
    *inputs: Any,
    expect: str = FOLLOWED,
    output: Callable[[Any], Tensor] = lambda out: out,
    **options: Any,
) -> None:
    """Check the model that ``make_model`` makes in float64, its buffers included."""
    models: list[nn.Module] = []

    def make() -> tuple[Program, list[Tensor]]:
        with float64():
            models.append(make_model())
        model = models[-1]
        return lambda: output(model(*inputs)), list(model.parameters())

    _check(make, lambda: list(models[-1].state_dict().values()), expect, **options)


def _check(
    make: Callable[[], tuple[Program, list[Tensor]]],
    state: Callable[[], list[Tensor]],
    expect: str,
    tolerance: float = 1e-9,
) -> None:
    program, leaves = make()
    torch.manual_seed(1)
    alone = program()
    assert alone.requires_grad, "the program computes nothing of its parameters"
    random, buffers = random_state(), [x.clone() for x in state()]
    names = graph(alone)
    torch.manual_seed(2)
    direction = [torch.randn_like(x) for x in leaves]
    expected = by_rows(alone, leaves, direction)
    cotangent = torch.randn_like(alone)
    gradients = torch.autograd.grad(alone, leaves, cotangent, allow_unused=True)

    program, leaves = make()
    torch.manual_seed(1)
    with TangentMode(zip(leaves, direction, strict=True), accelerators()) as mode:
        out = program()
    assert torch.equal(random_state(), random), "other random numbers were drawn"
    assert identical(out, alone), "the pass computed something else"
    assert all(map(identical, state(), buffers)), "the pass left other buffers"
    assert graph(out) == names, "the pass recorded another graph"
    try:
        tangent = mode.tangent_of(out)
    except NotFollowed as refusal:
        if expect == FOLLOWED:
            pytest.fail(str(refusal))
    else:
        assert expect != REFUSED, "this can only be followed by guessing"
        assert_same(tangent, expected, tolerance)
    observed = torch.autograd.grad(out, leaves, cotangent, allow_unused=True)
    for one, other in zip(observed, gradients, strict=True):
        assert (one is None) == (other is None)
        assert one is None or identical(one, other), "the backward pass computed something else"


def by_rows(out: Tensor, leaves: Sequence[Tensor], direction: Sequence[Tensor]) -> Tensor:
    """The Jacobian times the direction, a backward pass for every entry of ``out``."""
    rows = []
    for entry in out.reshape(-1).unbind():
        gradients = torch.autograd.grad(entry, leaves, retain_graph=True, allow_unused=True)
        parts = zip(gradients, direction, strict=True)
        rows.append(sum((g.to_dense() * v).sum() for g, v in parts if g is not None))
    rows = [torch.as_tensor(row, dtype=out.dtype, device=out.device) for row in rows]
    return torch.stack(rows).reshape(out.shape)


def identical(one: Tensor, other: Tensor) -> bool:
    if one.is_sparse:
        one, other = one.to_dense(), other.to_dense()
    return near(one.nan_to_num(7.5), other.nan_to_num(7.5))


def graph(out: Tensor) -> list[str]:
    """Names of the nodes that the backward pass will visit, in one fixed order."""
    names, seen, waiting = [], set(), [out.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        names.append(node.name())
        waiting += [parent for parent, _ in node.next_functions]
    return names
