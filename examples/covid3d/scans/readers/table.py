"""Anyone's own data: a CSV file with a row for each scan."""

from __future__ import annotations

import csv
from pathlib import Path

from examples.covid3d.common.errors import problem
from examples.covid3d.scans.readers.listing import stem_of
from examples.covid3d.scans.readers.scan import Found, Rejected, Scan

COLUMNS = ("image", "label", "patient", "source")
LAYOUT = (
    f"a CSV file with the header {','.join(COLUMNS)} (and name, role, if wanted), a row per scan"
)


def read(folder: Path) -> Found:
    """Reads a table of scans.

    Columns are ``image``, ``label``, ``patient``, ``source`` and, optionally, ``name`` and
    ``role`` (``teacher``, ``trusted``, ``unlabelled`` or ``test``: a split of your own); others are
    ignored. Relative paths are relative to the table. Empty cells are allowed but for the image: no
    label makes a scan without a mask, ``name`` defaults to the image file's name without suffix,
    ``patient`` to the name, ``source`` to ``csv``.

    Args:
        folder: The CSV file, UTF-8.

    Returns:
        Scans by name. Rows whose files are missing, or which have more or fewer cells than the
        header, are rejected with their line number.

    Raises:
        UserError: If the table cannot be read, lacks a column, or is empty; if a name occurs twice
            or cannot be a file name; if one image is said to be of two patients.
    """
    table = folder
    scans: dict[str, Scan] = {}
    rejected = []
    patients: dict[Path, str] = {}
    rows = _rows(table)
    if not rows:
        raise problem(table, "no rows below the header", LAYOUT, "add a row for each scan")
    for line, row in rows:
        where = f"{table}, line {line}"
        if isinstance(row, str):
            rejected.append(Rejected(where, row))
            continue
        image, label = row["image"], row["label"]
        reason = _missing(table, image, label)
        if reason is not None:
            rejected.append(Rejected(where, reason))
            continue
        path = _path(table, image)
        name = row.get("name") or stem_of(path)
        patient = row["patient"] or name
        _check_name(where, name, scans)
        if patients.setdefault(path.resolve(), patient) != patient:
            raise problem(
                where,
                f"{image} as a scan of {patient}, and above of {patients[path.resolve()]}",
                "a scan of one patient",
                "correct the column patient, or the path",
            )
        mask = _path(table, label) if label else None
        source, role = row["source"] or "csv", row.get("role") or None
        scans[name] = Scan(name, patient, source, path, mask, role=role)
    return Found([scans[name] for name in sorted(scans)], rejected)


def _rows(table: Path) -> list[tuple[int, dict[str, str] | str]]:
    """Rows with their line numbers: cells by column, or what is wrong with the row."""
    expected, remedy = LAYOUT, "save it as CSV, UTF-8, with commas between the cells"
    try:
        # With the mark that spreadsheet programs put first, or without.
        with table.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.reader(stream, strict=True)
            lines = [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise problem(table, f"cannot be read ({error})", expected, remedy) from error
    lines = [(line, cells) for line, cells in lines if any(cells)]
    if not lines:
        raise problem(table, "an empty file", expected, "add the header and a row for each scan")
    header = [cell.lower() for cell in lines[0][1]]
    missing = [column for column in COLUMNS if column not in header]
    if missing or len(set(header)) < len(header):
        found = f"no column {', '.join(missing)}" if missing else "a column twice"
        raise problem(table, f"{found}; the header is {','.join(header)}", expected, remedy)
    return [
        (line, dict(zip(header, cells, strict=True)))
        if len(cells) == len(header)
        else (line, f"{len(cells)} cells; the header has {len(header)}")
        for line, cells in lines[1:]
    ]


def _path(table: Path, cell: str) -> Path:
    return table.absolute().parent / Path(cell).expanduser()


def _missing(table: Path, image: str, label: str) -> str | None:
    """What is missing of a row's files, or None."""
    if not image:
        return "no image given"
    for cell in (image, label):
        if cell and not _path(table, cell).is_file():
            return f"no such file: {_path(table, cell)}"
    return None


def _check_name(where: str, name: str, scans: dict[str, Scan]) -> None:
    """Refuses a name that is taken, or that no file can have."""
    if name in scans:
        raise problem(
            where,
            f"a second scan called {name}",
            "a name of its own for each scan; the default is the image file's name",
            "add a column name",
        )
    if name.startswith(".") or any(character in name for character in '/\\:*?"<>|\0'):
        raise problem(
            where, f"the name {name!r}", "a name that can be a file's", "use letters and digits"
        )
