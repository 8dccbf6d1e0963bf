"""Batches of any nesting, copied for a pass that may change them."""

from __future__ import annotations

import copy
from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any

from torch import Tensor


def fresh(batch: Any) -> Any:
    """Return ``batch`` with its own containers and tensors, for a pass that may change them.

    Models pop keys and scale inputs in place. What is not a tensor, mapping, list, tuple or named
    tuple is shared.
    """
    if isinstance(batch, Tensor):
        return batch.detach().clone()
    if isinstance(batch, MutableMapping):
        return with_values(batch, {key: fresh(value) for key, value in batch.items()})
    if type(batch) in (tuple, list) or (isinstance(batch, tuple) and hasattr(batch, "_fields")):
        return with_parts(batch, [fresh(value) for value in batch])
    return batch


def with_values(batch: MutableMapping[Any, Any], values: Mapping[Any, Any]) -> Any:
    """Return a mapping of the kind of ``batch`` with ``values`` for its values."""
    # A copy keeps what more the kind has: a default factory, or a tokenizer's encodings.
    other = copy.copy(batch)
    other.update(values)
    return other


def with_parts(batch: Sequence[Any], parts: list[Any]) -> Any:
    """Return a tuple, named tuple or list of the kind of ``batch`` with these ``parts``."""
    kind: Any = type(batch)
    return kind(*parts) if hasattr(batch, "_fields") else kind(parts)
