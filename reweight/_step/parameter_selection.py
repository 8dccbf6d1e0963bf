"""From what a user passes as ``parameters=`` to parameter names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Any, TypeAlias

from torch import Tensor, nn

ParameterSelection: TypeAlias = "str | nn.Module | Iterable[str | Tensor] | None"


def select_parameters(
    named: Sequence[tuple[str, nn.Parameter]], selection: ParameterSelection
) -> list[str]:
    """Return the names of the trainable parameters that ``selection`` means, in model order.

    Args:
        named: All parameters under each of their names, in model order. A tied parameter answers
            to each of them.
        selection: ``None`` (all), a module of the model, parameters, or patterns for parameter
            names (``"decoder.*"``), one or several.

    Raises:
        ValueError: If it, or one of its patterns or parameters, means none of them.
    """
    trainable: dict[str, nn.Parameter] = {}
    names: dict[int, list[str]] = {}
    for name, p in named:
        if p.requires_grad:
            if id(p) not in names:
                trainable[name] = p
            names.setdefault(id(p), []).append(name)
    if selection is None:
        return list(trainable)
    if isinstance(selection, nn.Module):
        items: list[Any] = list(selection.parameters())
    else:
        items = [selection] if isinstance(selection, str) else list(selection)
    wanted: set[int] = set()
    unmatched = [] if items else [selection]
    for item in items:
        if isinstance(item, str):
            found = {i for i, own in names.items() if any(fnmatchcase(n, item) for n in own)}
        else:
            found = {id(item)} & names.keys()
        # A module may well have frozen parameters among others.
        if not found and not isinstance(selection, nn.Module):
            unmatched.append(item)
        wanted |= found
    if unmatched or not wanted:
        shown = ", ".join(list(trainable)[:8]) + (", …" if len(trainable) > 8 else "")
        patterns = [item for item in unmatched if isinstance(item, str)]
        what = f"pattern(s) {patterns} match" if patterns else "the selection matches"
        raise ValueError(
            f"parameters=: {what} no trainable parameter of the model. Their names are {shown}."
        )
    return [name for name, p in trainable.items() if id(p) in wanted]
