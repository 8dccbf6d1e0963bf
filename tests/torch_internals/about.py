"""Which rows of the table a test is about."""

from __future__ import annotations

from reweight import _torch_internals as internals

IN_TABLE = {row.name for row in internals.TABLE}


def about(*rows: str):
    """Say that the behaviour of these is what a test holds."""
    assert set(rows) <= IN_TABLE, set(rows) - IN_TABLE

    def mark(test):
        test.rows = rows
        return test

    return mark
