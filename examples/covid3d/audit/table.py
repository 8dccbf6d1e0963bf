"""The audit as a CSV file, which spreadsheet programs open without running what a name says."""

from __future__ import annotations

from pathlib import Path

from examples.covid3d.audit.judgement import Verdict
from examples.covid3d.common.files import write_csv

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def guarded(text: str) -> str:
    """Text that no spreadsheet program takes for a formula."""
    return f"'{text}" if text.startswith(_FORMULA) else text


def write_table(path: Path, verdict: Verdict) -> None:
    """Writes a row for each scan, the worst first: scan, quality, doubt, trusted, and the parts."""
    write_csv(
        path,
        [
            {
                "scan": guarded(one.scan),
                "quality": f"{one.quality:.4f}",
                "doubt": guarded(one.doubt),
                "trusted": int(one.trusted),
                **{name: f"{value:.6g}" for name, value in one.parts.items()},
            }
            for one in verdict.judgements
        ],
    )
