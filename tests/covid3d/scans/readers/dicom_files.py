"""DICOM series and other files for tests, written with SimpleITK's own writer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from examples.covid3d.scans.readers.dicom_headers import keeping_locale

# A test module that imports this one is skipped where SimpleITK is missing.
sitk = pytest.importorskip("SimpleITK", reason="DICOM needs SimpleITK")


@keeping_locale()
def write_series(
    folder: Path,
    volume,
    affine=None,
    uid="1.2.3",
    patient="P1",
    modality="CT",
    intercept=-1024.0,
    slope=1.0,
    positions=None,
    skip=(),
    prefix="IM",
    seed=0,
    plane=None,
):
    """Writes one file per slice, under shuffled names and with shuffled instance numbers.

    Args:
        folder: Where to.
        volume: int16 values after rescaling, (X, Y, Z).
        affine: (4, 4), voxel index to RAS+ mm, slices along its third axis.
        uid: SeriesInstanceUID.
        patient: PatientID; "" writes an empty one.
        modality: Modality.
        intercept: Rescale intercept.
        slope: Rescale slope.
        positions: Positions of the slices instead of those of the affine, LPS mm.
        skip: Indices of slices that are not written.
        prefix: Beginning of the file names.
        seed: Of the shuffle.
        plane: Orientation, six cosines, instead of that of the affine.

    Returns:
        The files by slice index.
    """
    folder.mkdir(parents=True, exist_ok=True)
    volume = np.asarray(volume)
    affine = np.diag([-0.8, -0.7, 2.5, 1.0]) if affine is None else np.asarray(affine)
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    if plane is None:
        plane = (*(lps[:3, 0] / spacing[0]), *(lps[:3, 1] / spacing[1]))
    if positions is None:
        positions = [lps[:3, 3] + k * lps[:3, 2] for k in range(volume.shape[2])]
    names = np.random.default_rng(seed).permutation(volume.shape[2])
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    files = {}
    for k in range(volume.shape[2]):
        if k in skip:
            continue
        image = sitk.GetImageFromArray(np.ascontiguousarray(volume[:, :, k].T))
        image.SetSpacing((float(spacing[0]), float(spacing[1])))
        header = {
            "0008|0016": "1.2.840.10008.5.1.4.1.1.2",
            "0008|0018": f"{uid}.{names[k] + 1}",
            "0008|0060": modality,
            "0010|0020": patient,
            "0020|000d": "1.2",
            "0020|000e": uid,
            "0020|0013": str(names[k] + 1),
            "0020|0032": "\\".join(f"{x:.6f}" for x in positions[k]),
            "0020|0037": "\\".join(f"{x:.8f}" for x in plane),
            "0028|1052": f"{intercept:g}",
            "0028|1053": f"{slope:g}",
        }
        for key, value in header.items():
            image.SetMetaData(key, value)
        files[k] = folder / f"{prefix}{names[k]:04d}.dcm"
        writer.SetFileName(str(files[k]))
        writer.Execute(image)
    return files


def stored_pixels(path: Path, columns: int, rows: int):
    """The int16 values at the end of an uncompressed file as they are stored, (columns, rows)."""
    raw = np.frombuffer(path.read_bytes()[-2 * columns * rows :], dtype="<i2")
    return raw.reshape(rows, columns).T


def chest(slices=10, columns=6, rows=5, seed=0):
    """Random int16 Hounsfield units, (X, Y, Z)."""
    rng = np.random.default_rng(seed)
    return rng.integers(-1024, 3072, (columns, rows, slices)).astype(np.int16)
