"""A table that says whose each scan is, for layouts that do not."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Sequence
from pathlib import Path

from examples.covid3d.common.errors import problem
from examples.covid3d.scans.readers.scan import Scan

_EXPECTED = "a CSV file, UTF-8, with the header scan,patient and a row for each scan"


def read_patients(table: Path) -> dict[str, str]:
    """Patients by scan.

    Raises:
        UserError: If the table cannot be read, lacks a column or a cell, or names a scan twice.
    """
    try:
        # With the mark that spreadsheet programs put first, or without.
        with table.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream, strict=True)
            header = [(name or "").strip().lower() for name in reader.fieldnames or ()]
            reader.fieldnames = header
            rows = [(reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise problem(table, f"cannot be read ({error})", _EXPECTED, "save it so") from error
    missing = [name for name in ("scan", "patient") if name not in header]
    if missing or not rows:
        found = f"no column {' or '.join(missing)}" if missing else "no rows below the header"
        raise problem(table, found, _EXPECTED, "add what is missing")
    patients: dict[str, str] = {}
    for line, row in rows:
        scan, patient = ((row[name] or "").strip() for name in ("scan", "patient"))
        where = f"{table}, line {line}"
        if not scan or not patient:
            raise problem(where, "an empty cell", _EXPECTED, "fill it, or remove the row")
        if scan in patients:
            raise problem(where, f"scan {scan} a second time", "each scan once", "remove one row")
        patients[scan] = patient
    return patients


def with_patients(
    scans: Sequence[Scan], patients: dict[str, str], left_out: Sequence[str], table: Path
) -> list[Scan]:
    """The scans with their patients from a table.

    Args:
        scans: All that were found.
        patients: By name of the scan.
        left_out: Where the scans lie that readers rejected; they may be in the table.
        table: Named in errors.

    Raises:
        UserError: If a scan is not in the table, or the table names one that was not found.
    """
    names = [scan.name for scan in scans]
    found_names = set(names)
    missing = [name for name in names if name not in patients]
    unknown = [
        name
        for name in patients
        if name not in found_names and not any(name in where for where in left_out)
    ]
    for found, those in (
        ("no patient for {} of the scans found", missing),
        ("{} scans that were not found", unknown),
    ):
        if those:
            raise problem(
                table,
                f"{found.format(len(those))}: {', '.join(those[:5])}"
                + (", ..." if len(those) > 5 else ""),
                f"the names of the scans, such as {names[0] if names else 'NAME'}, each once",
                "correct the column scan; `inspect` lists the names",
            )
    return [dataclasses.replace(scan, patient=patients[scan.name]) for scan in scans]
