"""The optimiser inside the wrappers that training frameworks put around it."""

from __future__ import annotations

from typing import Any

from torch.optim import Optimizer

_WHERE = ("optimizer", "optim")
"""accelerate and Lightning keep it under the one name, ``torch.distributed`` under the other."""

_DEEPEST = 8


def held(wrapper: Any, depth: int = _DEEPEST) -> Any:
    """Return what ``wrapper`` holds, an optimiser or a wrapper that holds one, or ``None``."""
    for name in _WHERE if depth else ():
        inner = getattr(wrapper, name, None)
        if inner is None or inner is wrapper:
            continue
        if isinstance(inner, Optimizer) or held(inner, depth - 1) is not None:
            return inner
    return None


def innermost(optimizer: Any, known: tuple[type, ...]) -> Any:
    """Return the optimiser within ``optimizer``, looked for until its class is in ``known``.

    Raises:
        ValueError: If a wrapper has more parameters than the optimiser that it holds.
    """
    found = optimizer
    for _ in range(_DEEPEST):
        if type(found) in known:
            break
        inner = held(found)
        if inner is None:
            break
        _check_whole(found, inner)
        found = inner
    return found


def _check_whole(wrapper: Any, inner: Any) -> None:
    missing = _parameters(wrapper) - _parameters(inner)
    if missing:
        raise ValueError(
            f"the {type(wrapper).__name__} given as lookahead= has {len(missing)} parameter(s) "
            f"that the optimiser it holds here has not: their state lies elsewhere, on other ranks "
            f"perhaps, and cannot be followed. Leave lookahead out, which is plain SGD, or pass a "
            f"TorchOpt optimiser."
        )


def _parameters(optimizer: Any) -> set[int]:
    """Return the identities of an optimiser's parameters; a wrapper's may be its optimiser's."""
    groups = getattr(optimizer, "param_groups", None)
    if groups is None:
        inner = held(optimizer)
        return set() if inner is None else _parameters(inner)
    return {id(p) for group in groups for p in group["params"]}
