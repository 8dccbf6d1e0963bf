"""Rows of docs/compatibility.md for tests with many parameters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pytest

EXACT = "exact"


def rows(
    area: str, keys: Iterable[str], what: Mapping[str, str | Sequence[str]], result: str = EXACT
) -> list[Any]:
    """Parameters of a test, each with its row.

    Args:
        area: Of all of them.
        keys: The parameters.
        what: By parameter what it tries, or that, the result and a note; several may share a row,
            and those that are not here have none.
        result: Where ``what`` says none.
    """
    found = []
    for key in keys:
        about = what.get(key)
        if about is None:
            found.append(key)
            continue
        row = (about, result) if isinstance(about, str) else tuple(about)
        found.append(pytest.param(key, marks=pytest.mark.compatibility(area, *row)))
    return found
