"""From what a user passes as ``parameters=`` to parameter names."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import TypeAlias

from torch import Tensor, nn

ParameterSelection: TypeAlias = "str | nn.Module | Iterable[str | Tensor] | None"


def select_parameters(
    trainable: dict[str, nn.Parameter], selection: ParameterSelection
) -> list[str]:
    """Return the names of the trainable parameters that ``selection`` means, in model order.

    Args:
        trainable: The model's trainable parameters by name.
        selection: ``None`` (all), a module of the model, parameters, or patterns for parameter
            names (``"decoder.*"``), one or several.

    Raises:
        ValueError: If it means none of them.
    """
    if selection is None:
        return list(trainable)
    wanted: set[int] = set()
    patterns: list[str] = []
    if isinstance(selection, nn.Module):
        wanted = {id(p) for p in selection.parameters()}
    else:
        for item in [selection] if isinstance(selection, str) else selection:
            if isinstance(item, str):
                patterns.append(item)
            else:
                wanted.add(id(item))
    names = [
        name
        for name, p in trainable.items()
        if id(p) in wanted or any(fnmatchcase(name, pattern) for pattern in patterns)
    ]
    if not names:
        shown = ", ".join(list(trainable)[:8]) + (", …" if len(trainable) > 8 else "")
        what = f"patterns {patterns}" if patterns else "the selection given"
        raise ValueError(
            f"parameters=: {what} matches no trainable parameter of the model. Their names are "
            f"{shown}."
        )
    return names
