"""Tables for a terminal and for a notebook."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape


def as_text(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return lines of equal columns, aligned to the right."""
    lines = [list(header), *map(list, rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True))
        for line in lines
    )


def as_html(header: Sequence[str], rows: Sequence[Sequence[str]], caption: str) -> str:
    """Return a ``<table>``, everything in it escaped."""
    head = "".join(f"<th>{escape(name)}</th>" for name in header)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return (
        f"<table><caption>{escape(caption)}</caption>"
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    )
