"""The Markdown table."""

from __future__ import annotations

from benchmarks.meta_step.failure import NOT_AVAILABLE
from benchmarks.meta_step.summary import Measurement, SummaryRow, rows

_HEAD = (
    "| step | time (× plain) | quartiles | above the floor | median (s) "
    "| peak tensors | peak resident |\n|---|---|---|---|---|---|---|"
)

_LONGEST = 120


def markdown(measured: Measurement) -> str:
    """Return the table of one setup, a row for each method."""
    return "\n".join([_HEAD, *map(_line, rows(measured))])


def _line(row: SummaryRow) -> str:
    low, middle, high = row.time or (None, None, None)
    spread = f"{low:.2f}–{high:.2f}" if row.time and row.method != "plain" else ""
    is_reference = row.method in ("plain", "floor")
    said_already = row.memory_error is not None and row.memory_error == row.time_error
    memory_error = None if said_already else row.memory_error
    cells = [
        row.method,
        f"{middle:.2f}" if row.time else _missing(row.time_error),
        spread,
        "" if is_reference or row.above_floor is None else f"{row.above_floor:+.2f}",
        "" if row.seconds is None else f"{row.seconds:.3g}",
        _memory(row.tensors, row.tensors_ratio) or _missing(memory_error),
        _memory(row.resident, row.resident_ratio) or "not measured",
    ]
    return f"| {' | '.join(cells)} |"


def _missing(error: str | None) -> str:
    if error is None:
        return "not measured"
    said = escaped(error, _LONGEST)  # result.json has all of it
    return said if error.startswith(NOT_AVAILABLE) else f"error: {said}"


def escaped(text: str, longest: int) -> str:
    """Return ``text`` for a cell of a table, cut where it is longer than so many characters."""
    text = text if len(text) <= longest else text[: longest - 1] + "…"
    # A bar would end the cell, and underscores be taken for emphasis.
    return text.replace("|", "\\|").replace("_", "\\_")


def _memory(mebibytes: float | None, ratio: float | None) -> str:
    if mebibytes is None:
        return ""
    return f"× {ratio:.2f} ({mebibytes:.0f} MiB)" if ratio is not None else f"{mebibytes:.0f} MiB"
