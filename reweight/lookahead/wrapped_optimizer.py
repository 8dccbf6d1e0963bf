"""The optimiser inside the wrappers that training frameworks put around it."""

from __future__ import annotations

from typing import Any

from torch.optim import Optimizer

_WHERE = ("optimizer", "optim")
"""accelerate and Lightning keep it under the one name, ``torch.distributed`` under the other."""


def held(wrapper: Any) -> Optimizer | None:
    """Return the optimiser, or further wrapper, that ``wrapper`` holds, or ``None``."""
    for name in _WHERE:
        inner = getattr(wrapper, name, None)
        if isinstance(inner, Optimizer) and inner is not wrapper:
            return inner
    return None


def innermost(optimizer: Any, known: tuple[type, ...]) -> Any:
    """Return the optimiser within ``optimizer``, looked for until its class is in ``known``.

    Raises:
        ValueError: If a wrapper shares its parameters out, and holds the optimiser of a part.
    """
    found, seen = optimizer, {id(optimizer)}
    while type(found) not in known:
        inner = held(found)
        if inner is None or id(inner) in seen:
            break
        _check_whole(found, inner)
        seen.add(id(inner))
        found = inner
    return found


def _check_whole(wrapper: Any, inner: Optimizer) -> None:
    missing = _parameters(wrapper) - _parameters(inner)
    if missing:
        raise ValueError(
            f"the {type(wrapper).__name__} given as lookahead= has {len(missing)} parameter(s) "
            f"that the optimiser it holds here has not: their state lies elsewhere, on other ranks "
            f"perhaps, and cannot be followed. Leave lookahead out, which is plain SGD, or pass a "
            f"TorchOpt optimiser."
        )


def _parameters(optimizer: Any) -> set[int]:
    groups = getattr(optimizer, "param_groups", None) or []
    return {id(p) for group in groups for p in group["params"]}
