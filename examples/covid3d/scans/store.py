"""Prepared scans on disk, opened voxel by voxel as they are needed."""

from __future__ import annotations

import json
import threading
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from examples.covid3d.common.errors import UserError, problem
from examples.covid3d.common.files import new_folder, write_array, write_json
from examples.covid3d.scans.geometry import Grid, resample

THRESHOLD = 0.5
"""Foreground is what is more probable than this: with two classes, the argmax."""

RECORD = "record.json"
"""Of what a prepared scan was made, and what was found in its file."""


# NumPy reads a file's header as a Python literal, and two threads that parse at once can make
# CPython 3.11 raise a SystemError ("AST constructor recursion depth mismatch").
_READING_A_HEADER = threading.Lock()


def mapped(path: Path) -> NDArray[Any]:
    """Returns the array in a .npy file, mapped; threads may ask at once.

    Raises:
        UserError: If the file is empty or cut short.
        OSError: If it cannot be read for no fault of its own.
    """
    try:
        with _READING_A_HEADER:
            array: NDArray[Any] = np.load(path, mmap_mode="r")
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise problem(
            path,
            f"cannot be read ({error})",
            "an array, written whole",
            "run the same command again, with `run` instead of a single stage: it finds files that "
            "are cut short, and makes them anew",
        ) from error
    return array


def is_whole(folder: Path) -> bool:
    """Whether every array in a folder is as long as its header says, and all JSON can be read.

    Raises:
        OSError: If a file cannot be read, for no fault of its own.
    """
    files = list(folder.iterdir())
    for path in files:
        try:
            if path.suffix == ".npy":
                mapped(path)
            elif path.suffix == ".json":
                json.loads(path.read_text("utf-8"))
        except (UserError, ValueError):
            return False
    return any(path.suffix == ".npy" for path in files)


@dataclass(frozen=True, eq=False)
class StoredScan:
    """A scan to train on or to label, its arrays mapped from disk and never held.

    Memory so depends on the size of a batch, not on the number of scans.

    Attributes:
        name: The scan's name.
        folder: Where ``image.npy`` and ``grids.json`` lie.
        labels: Where ``mask.npy`` and ``foreground.npy`` lie, an expert's or the teacher's; None
            for a scan without.
    """

    name: str
    folder: Path
    labels: Path | None = None

    @property
    def image(self) -> NDArray[np.float32]:
        """Prepared intensities, (X, Y, Z), RAS+, mapped."""
        image: NDArray[np.float32] = mapped(self.folder / "image.npy")
        return image

    @property
    def mask(self) -> NDArray[np.uint8]:
        """Labels 0 or 1, (X, Y, Z), mapped."""
        mask: NDArray[np.uint8] = mapped(self._labels() / "mask.npy")
        return mask

    @property
    def foreground(self) -> NDArray[np.int64]:
        """Flat indices of the voxels labelled 1, ascending, mapped."""
        foreground: NDArray[np.int64] = mapped(self._labels() / "foreground.npy")
        return foreground

    def _labels(self) -> Path:
        if self.labels is None:
            raise ValueError(f"{self.name} has no labels")
        return self.labels

    @property
    def grid(self) -> Grid:
        """Where the voxels of ``image`` are."""
        return _grid(self._grids()["grid"])

    @property
    def own_grid(self) -> Grid:
        """The grid of the file, where predictions go back to."""
        return _grid(self._grids()["own_grid"])

    def _grids(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads((self.folder / "grids.json").read_text("utf-8"))
        return content

    def to_own_grid(self, probability: torch.Tensor) -> NDArray[np.uint8]:
        """Brings a foreground probability back to the scan's own voxels."""
        return to_grid(probability, self.grid, self.own_grid)


def folder_of(prepared: Path, name: str) -> Path:
    """Where a scan lies in the folder of the stage ``prepare``."""
    return prepared / "scans" / name


def stored(prepared: Path, name: str, labels: Path | None = None) -> StoredScan:
    """A prepared scan, with the labels that lie under its name in ``labels``, if given."""
    return StoredScan(name, folder_of(prepared, name), None if labels is None else labels / name)


def stored_with_mask(prepared: Path, name: str) -> StoredScan:
    """A prepared scan with its expert's mask, which lies beside the image."""
    folder = folder_of(prepared, name)
    return StoredScan(name, folder, folder)


def to_grid(probability: torch.Tensor, grid: Grid, own_grid: Grid) -> NDArray[np.uint8]:
    """Labels on a scan's own grid from a probability on the working one.

    Probabilities are interpolated, then thresholded: smoother and more accurate than carrying the
    nearest label back.

    Args:
        probability: (X, Y, Z) on ``grid``.
        grid: The working grid.
        own_grid: The scan's own.

    Returns:
        Labels 0 or 1 on ``own_grid``.
    """
    own = resample(probability.float().cpu(), grid, own_grid, "linear")
    return (own > THRESHOLD).numpy().astype(np.uint8)


def write_labels(folder: Path, mask: NDArray[np.uint8]) -> None:
    """Writes ``mask.npy`` and the index of its foreground; the mask last.

    Args:
        folder: Where to.
        mask: (X, Y, Z); 1 is foreground, and nothing else is: other labels than 0 and 1 are a row's
            own, as for voxels that it ignores.
    """
    write_array(folder / "foreground.npy", np.flatnonzero(mask == 1))
    write_array(folder / "mask.npy", mask)


def write_scan(
    folder: Path,
    image: NDArray[np.float32],
    mask: NDArray[np.uint8] | None,
    grids: Mapping[str, Grid],
    record: Mapping[str, Any],
) -> None:
    """Writes a prepared scan; the folder appears when all of it is there.

    Args:
        folder: Of this scan alone; must not exist.
        image: (X, Y, Z).
        mask: (X, Y, Z), or None.
        grids: ``grid`` and ``own_grid``.
        record: Written to ``record.json``.
    """
    places = {
        name: {"shape": grid.shape, "affine": grid.affine.tolist()} for name, grid in grids.items()
    }
    with new_folder(folder) as temporary:
        write_array(temporary / "image.npy", image)
        if mask is not None:
            write_labels(temporary, mask)
        write_json(temporary / "grids.json", places)
        write_json(temporary / RECORD, record)


def _grid(content: Mapping[str, Any]) -> Grid:
    x, y, z = content["shape"]
    return Grid((x, y, z), np.asarray(content["affine"], dtype=np.float64))
