"""Code of others between an operator's name and what it does."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn

from reweight._torch_internals import (
    dispatch_modes_in_place,
    function_modes,
    handles_operators_itself,
)

_PLAIN = frozenset({Tensor, nn.Parameter})


def changes_operators(types: Iterable[type]) -> bool:
    """Whether a type of tensor handles operators itself, and may do anything in their place."""
    return not _PLAIN.issuperset(types) and any(map(handles_operators_itself, types))


def modes_in_place() -> bool:
    """Whether a mode other than a default device's would see operators that run beside the pass."""
    return dispatch_modes_in_place() or bool(function_modes())
