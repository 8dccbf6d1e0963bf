"""The audit as a CSV file."""

from __future__ import annotations

import math
from pathlib import Path

from examples.covid3d.audit.quality import Assessment
from examples.covid3d.audit.verdict import Verdict, worst_first
from examples.covid3d.common.files import write_csv


def _cell(value: str | float) -> str:
    if isinstance(value, str):
        return value
    return "" if math.isnan(value) else f"{value:.6g}"


def _row(one: Assessment, trusted: bool) -> dict[str, str]:
    row = {name: _cell(value) for name, value in one.to_row().items()}
    first = {name: row.pop(name) for name in ("scan", "quality", "doubt")}
    return {**first, "trusted": str(int(trusted)), **row}


def write_table(path: Path, verdict: Verdict) -> None:
    """Writes a row for each scan, the worst first: scan, quality, doubt, trusted, and the parts."""
    trusted = {one.scan for one in verdict.trusted}
    every = worst_first([*verdict.judged, *verdict.trusted])
    write_csv(path, [_row(one, one.scan in trusted) for one in every])
