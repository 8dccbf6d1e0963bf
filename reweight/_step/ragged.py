"""Signs of flat data that go with offsets, lengths or indices.

Where the flat data are of another length than the batch, that tells. These are the signs for the
batches in which both happen to be of the same length.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

_PLACES = re.compile(
    r"offset|ptr|cu_?seq|cu_len|split|segment|edge|graph|(^|_)batch(_|$)", re.IGNORECASE
)
_LENGTHS = re.compile(r"len|num_|sizes|counts", re.IGNORECASE)


def ragged_by_name(values: Mapping[Any, Any], count: int) -> str | None:
    """Return the name of what looks like places in, or lengths of, parts of another of ``values``.

    Args:
        values: Parts of a batch by name.
        count: How many samples there are.
    """
    for name, value in values.items():
        if not isinstance(name, str) or not _is_vector(value, count):
            continue
        if _PLACES.search(name) and _are_places(value):
            return name
        flat = any(_is_vector(x, count) for other, x in values.items() if other != name)
        if (
            _LENGTHS.search(name)
            and flat
            and int(value.sum()) == count
            and bool((value != 1).any())
        ):
            return name
    return None


def ragged_by_value(values: Sequence[Any], count: int) -> bool:
    """Whether one of ``values`` looks like offsets into another, as an embedding bag takes them."""
    vectors = [value for value in values if _is_vector(value, count)]
    return len(vectors) > 1 and any(_are_places(vector) for vector in vectors)


def _is_vector(value: Any, count: int) -> bool:
    return (
        isinstance(value, Tensor)
        and value.dim() == 1
        and not value.is_floating_point()
        and not value.is_complex()
        and value.element_size() > 1
        and value.shape[0] == count
    )


def _are_places(vector: Tensor) -> bool:
    rising = bool((vector.diff() >= 0).all())
    return rising and int(vector[0]) == 0 and int(vector[-1]) > 0
