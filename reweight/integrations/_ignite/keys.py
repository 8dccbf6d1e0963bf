"""The ids and groups of a batch, as an engine has it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import torch

Key: TypeAlias = "str | int | Callable[[Any], Any] | None"


def from_key(batch: Any, key: Key, what: str) -> Any:
    """Return what a batch holds under ``key``; ``None`` without one.

    Args:
        batch: A mapping, or a sequence.
        key: A key of it, a place in it, or a function of it.
        what: What is looked for, for the error message.

    Raises:
        ValueError: If the batch has no such key, or no such place.
    """
    if key is None:
        return None
    if callable(key):
        return _as_rows(key(batch))
    try:
        return _as_rows(batch[key])
    except (KeyError, IndexError, TypeError):
        has = f"the keys {sorted(map(str, batch))}" if isinstance(batch, Mapping) else _size(batch)
        raise ValueError(
            f"the batch has no {key!r} to take {what} from; it has {has}. Give each item of the "
            f'data set its row, {{**item, "id": i}} for item i, or another {what}_key=.'
        ) from None


def _as_rows(values: Any) -> Any:
    return torch.as_tensor(values) if isinstance(values, list | tuple) else values


def _size(batch: Any) -> str:
    return f"{len(batch)} parts" if isinstance(batch, list | tuple) else f"a {type(batch).__name__}"
