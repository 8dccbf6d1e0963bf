"""Cells of a CSV file that no spreadsheet takes for a formula."""

from __future__ import annotations

import re

# What Excel, LibreOffice or Google Sheets evaluate at the start of a cell, its wide forms (which
# they normalise) among it, even after blanks; and what splits a cell when it is pasted.
_FORMULA = r"\s*[=+\-@\uff1d\uff0b\uff0d\uff20]|[\t\r\n]"
_STARTS_ONE = re.compile(rf"'*(?:{_FORMULA})")
_NUMBER = re.compile(r"[+-]?(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|inf|nan)")


def guarded(cell: object) -> object:
    """A cell as it is written: text that would be a formula gets an apostrophe before it.

    Names of scans and patients come from other people's files, and a table of them is opened in a
    spreadsheet, where ``=HYPERLINK(...)`` or ``+cmd|...`` would run. Text that starts with
    apostrophes and then as a formula does gets one more, so that :func:`unguarded` gives every text
    back. Numbers stay numbers, negative ones too.

    Args:
        cell: Any value; what is not text is left alone.
    """
    if not isinstance(cell, str) or _NUMBER.fullmatch(cell) or not _STARTS_ONE.match(cell):
        return cell
    return f"'{cell}"


def unguarded(cell: str) -> str:
    """The text that :func:`guarded` was given."""
    return cell[1:] if cell.startswith("'") and _STARTS_ONE.match(cell) else cell
