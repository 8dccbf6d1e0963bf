"""Batches of any kind, copied for a pass that may change them."""

from __future__ import annotations

import copy
from collections.abc import Mapping, MutableMapping
from typing import Any

from reweight._isolation.copies import Copies


def fresh(batch: Any) -> Any:
    """Return a copy of ``batch`` for a pass that may change it.

    Models pop keys, scale inputs in place, write into a key-value cache, count. Copied are
    tensors of every layout and subclass, NumPy arrays, random number generators, containers, and
    objects of any class that keeps what it holds in ``__dict__`` or ``__slots__``. What a batch
    holds twice it holds twice in the copy, and a cycle is a cycle there.

    An input that requires a gradient does so in the copy: a leaf is a leaf, and what was computed
    from something stays connected to it (so does a parameter, which is not an input).

    Left as they are: modules with parameters, data sets and optimisers; functions, classes,
    enumerations and objects without state, which are known by who they are; objects that own a
    resource (a ``__del__``, a lock, a file, what is written in another language); read-only
    arrays. Nothing that cannot be copied raises.
    """
    return Copies().complete(batch)


def with_values(batch: MutableMapping[Any, Any], values: Mapping[Any, Any]) -> Any:
    """Return a mapping of the kind of ``batch`` with ``values`` for its values."""
    # A copy keeps what more the kind has: a default factory, or a tokenizer's encodings.
    other = copy.copy(batch)
    other.update(values)
    return other
