"""Writing files so that an interruption never leaves half of one."""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import torch
from numpy.typing import NDArray

from examples.covid3d.common.cells import guarded, unguarded
from examples.covid3d.common.errors import problem
from examples.covid3d.common.faults import passing_fault
from support.replacing import TEMPORARY, replacing


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Says which file a disk was full for, in the disk's words and not in those of a library."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        passing = passing_fault(error)
        if isinstance(passing, OSError):
            raise OSError(passing.errno, passing.strerror, str(path)) from error
        raise


def write_text(path: Path, text: str) -> None:
    """Writes UTF-8 text."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Any) -> None:
    """Writes indented JSON."""
    write_text(path, json.dumps(content, indent=2, sort_keys=True) + "\n")


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes rows as CSV; the columns are the keys of all rows, as they first occur.

    Args:
        path: File to write.
        rows: Dictionaries; a key that a row lacks leaves its cell empty. No rows make an empty
            file. Text that a spreadsheet would take for a formula is guarded, which
            :func:`read_csv` undoes.
    """
    written = [{guarded(key): guarded(cell) for key, cell in row.items()} for row in rows]
    columns = list(dict.fromkeys(key for row in written for key in row))
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, fieldnames=columns)
        if rows:
            writer.writeheader()
            writer.writerows(written)


def read_csv(path: Path) -> list[dict[str, str]]:
    """Reads the rows of a CSV file as strings by column name."""
    with path.open(newline="", encoding="utf-8") as stream:
        return [{_read(k): _read(v) for k, v in row.items()} for row in csv.DictReader(stream)]


def _read(cell: Any) -> Any:
    # A line too short or too long has None or a list among its cells.
    return unguarded(cell) if isinstance(cell, str) else cell


def write_arrays(path: Path, **arrays: NDArray[Any]) -> None:
    """Writes arrays to an ``.npz`` file."""
    with replacing(path) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(stream, allow_pickle=False, **arrays)


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Reads all the arrays of an ``.npz`` file."""
    with np.load(path) as archive:
        return {key: archive[key] for key in archive.files}


def write_torch(path: Path, content: Any) -> None:
    """Writes tensors and plain containers with :func:`torch.save`."""
    with _naming(path), replacing(path) as temporary, temporary.open("wb") as stream:
        torch.save(content, stream)


def read_torch(path: Path) -> Any:
    """Reads what :func:`write_torch` wrote, on the CPU.

    Raises:
        UserError: If the file is empty, cut short or damaged.
        OSError: If it cannot be read for no fault of its own.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch lets through whatever a damaged archive leads to
        passing = passing_fault(error)
        if passing is not None:
            raise passing from error
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise problem(
            path,
            f"cannot be read ({reason})",
            "weights or a checkpoint, written whole",
            f"delete the folder {path.parent}, and run again the command that made it",
        ) from error


def write_nifti(path: Path, volume: NDArray[Any], affine: NDArray[np.float64]) -> None:
    """Writes a volume (X, Y, Z) with its voxel-to-world affine (mm) as NIfTI."""
    image = nibabel.Nifti1Image(volume, affine)
    image.header.set_xyzt_units("mm")
    with replacing(path) as temporary:
        nibabel.save(image, temporary)


def write_array(path: Path, array: NDArray[Any]) -> None:
    """Writes one array as ``.npy``, which can be mapped."""
    with _naming(path), replacing(path) as temporary, temporary.open("wb") as stream:
        np.save(stream, array, allow_pickle=False)


def read_json(path: Path) -> Any:
    """Reads JSON; an empty dictionary where the file is missing or cut short.

    Raises:
        OSError: If it cannot be read for no fault of its own: what is there is not to be redone.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        if passing_fault(error) is not None:
            raise
        return {}


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yields a temporary folder, not there yet, that becomes ``path`` when the block ends well.

    Args:
        path: The folder; must not exist.

    Yields:
        The path to create and to write into.
    """
    temporary = path.with_name(f"{TEMPORARY}{os.getpid()}-{path.name}")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        yield temporary
        temporary.rename(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def link_tree(source: Path, target: Path) -> None:
    """Makes ``target`` a copy of a folder whose files are hard links, or copies where none can be.

    The folder appears when all of it is there.
    """
    with new_folder(target) as temporary:
        try:
            shutil.copytree(source, temporary, copy_function=os.link)
        except (OSError, shutil.Error):
            shutil.rmtree(temporary, ignore_errors=True)
            shutil.copytree(source, temporary)
