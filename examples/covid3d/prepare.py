"""Stage ``prepare``: every scan on the working grid, windowed, in RAS+ orientation."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from examples.covid3d.config import Config
from examples.covid3d.files import read_arrays, write_arrays, write_json
from examples.covid3d.geometry import Grid, resample, with_spacing
from examples.covid3d.intensity import to_unit_range
from examples.covid3d.nifti import load_image, load_mask
from examples.covid3d.phantoms.cohort import plan_cohort, write_patient
from examples.covid3d.sources import IMAGES, MASKS, Source, find_sources


@dataclass(frozen=True, eq=False)
class PreparedScan:
    """A scan on the working grid.

    Attributes:
        name: The scan's name.
        image: Windowed intensities in [0, 1], float32, (X, Y, Z), RAS+.
        grid: Where the voxels of ``image`` are.
        own_grid: The grid of the file, where predictions go back to.
    """

    name: str
    image: NDArray[np.float32]
    grid: Grid
    own_grid: Grid

    def to_own_grid(self, probability: torch.Tensor) -> NDArray[np.uint8]:
        """Brings a lesion probability back to the scan's own voxels.

        Probabilities are interpolated, then thresholded at a half (with two classes, the argmax):
        smoother and more accurate than carrying the nearest label back.

        Args:
            probability: (X, Y, Z) on the working grid.

        Returns:
            Labels 0 or 1 on ``own_grid``.
        """
        own = resample(probability.float().cpu(), self.grid, self.own_grid, "linear")
        return (own > 0.5).numpy().astype(np.uint8)


def prepare_image(path: Path, name: str, config: Config) -> PreparedScan:
    """Loads, windows and resamples one scan.

    Raises:
        UserError: If the file is unusable (see :func:`load_image`, :func:`to_unit_range`).
    """
    volume, own_grid = load_image(path)
    unit = torch.from_numpy(to_unit_range(volume, config.window, path))
    grid = with_spacing(own_grid, config.spacing)
    # Interpolation's rounding may leave the range by a hair.
    image = resample(unit, own_grid, grid, "linear").clamp(0, 1)
    return PreparedScan(name, image.numpy(), grid, own_grid)


def prepare_mask(path: Path, image_path: Path, scan: PreparedScan) -> NDArray[np.uint8]:
    """Loads a mask and brings it to the working grid of its scan, by nearest neighbour.

    Raises:
        UserError: If the mask is unusable or not on its scan's grid (see :func:`load_mask`).
    """
    labels = torch.from_numpy(load_mask(path, image_path, scan.own_grid)).float()
    return resample(labels, scan.own_grid, scan.grid, "nearest").numpy().astype(np.uint8)


def load_prepared(folder: Path, name: str) -> PreparedScan:
    """Reads a scan of the complete stage's ``folder``."""
    arrays = read_arrays(folder / "scans" / f"{name}.npz")
    own_x, own_y, own_z = (int(n) for n in arrays["own_shape"])
    x, y, z = arrays["image"].shape
    return PreparedScan(
        name,
        arrays["image"],
        Grid((x, y, z), arrays["affine"]),
        Grid((own_x, own_y, own_z), arrays["own_affine"]),
    )


def load_expert_mask(folder: Path, name: str) -> NDArray[np.uint8] | None:
    """Reads an expert's mask on the working grid from the complete stage's ``folder``, if any.

    Masks lie apart from scans, those of unlabelled scans in a folder of their own, ``truth``, which
    no training stage opens: they only tell how good the pseudo-labels were.
    """
    for kind in ("masks", "truth"):
        path = folder / kind / f"{name}.npz"
        if path.exists():
            mask: NDArray[np.uint8] = read_arrays(path)["mask"]
            return mask
    return None


def load_sources(folder: Path, *roles: str) -> list[Source]:
    """Reads the scans that have one of ``roles`` from the complete stage's ``folder``."""
    content = json.loads((folder / "scans.json").read_text(encoding="utf-8"))
    sources = [Source.from_json(item) for item in content if item["role"] in roles]
    return [_located(source, folder) for source in sources]


def _located(source: Source, folder: Path) -> Source:
    """The phantoms' paths are relative to the stage's folder, so that a run can be moved."""
    mask = folder / source.mask if source.mask is not None else None
    return dataclasses.replace(source, image=folder / source.image, mask=mask)


def _draw_phantoms(config: Config, folder: Path) -> list[Source]:
    sources = []
    patients = plan_cohort(config.phantoms)
    for index, patient in enumerate(tqdm(patients, desc="draw phantoms", unit="scan")):
        image, mask = (Path("phantoms", kind, f"{patient.name}.nii.gz") for kind in (IMAGES, MASKS))
        # The mask is written last.
        if not (folder / mask).exists():
            write_patient(folder / "phantoms", patient, index, config.seed, config.phantom_spacing)
        sources.append(Source(patient.name, patient.name, patient.role, image, mask))
    return sources


def prepare(config: Config, folder: Path) -> None:
    """Prepares every scan.

    Writes ``scans.json`` (names, patients, roles, files), ``scans/NAME.npz`` and, where there is an
    expert's mask, ``masks/NAME.npz`` or, for unlabelled scans, ``truth/NAME.npz``.

    Args:
        config: Settings.
        folder: Where to write.

    Raises:
        UserError: If a file is unusable.
    """
    sources = find_sources(config) or _draw_phantoms(config, folder)
    for source in tqdm(sources, desc="prepare", unit="scan"):
        done = folder / "scans" / f"{source.name}.npz"
        if done.exists():
            continue
        located = _located(source, folder)
        scan = prepare_image(located.image, source.name, config)
        if located.mask is not None:
            mask = prepare_mask(located.mask, located.image, scan)
            kind = "truth" if source.role == "unlabelled" else "masks"
            write_arrays(folder / kind / f"{source.name}.npz", mask=mask)
        write_arrays(
            done,
            image=scan.image,
            affine=scan.grid.affine,
            own_shape=np.asarray(scan.own_grid.shape),
            own_affine=scan.own_grid.affine,
        )
    write_json(folder / "scans.json", [source.to_json() for source in sources])
