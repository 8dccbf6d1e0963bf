"""Command ``predict``: masks of new scans, each on its own grid."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path

import torch
from tqdm import tqdm

from examples.covid3d.common.config import Config
from examples.covid3d.common.errors import UserError, problem
from examples.covid3d.common.files import read_json, write_json, write_nifti
from examples.covid3d.methods.rows import ROWS
from examples.covid3d.run.other_teacher import teacher_for
from examples.covid3d.run.run_folder import RunFolder
from examples.covid3d.scans.prepare import prepare_image, scan_key
from examples.covid3d.scans.readers import guess_kind, read_dataset
from examples.covid3d.scans.readers.scan import Scan
from examples.covid3d.scans.store import to_grid
from examples.covid3d.train.inference import foreground_probability, load_network
from examples.covid3d.train.training import WEIGHTS

_log = logging.getLogger("examples.covid3d")


def find_weights(run: RunFolder, method: str) -> list[Path]:
    """Weights of one row in the seeds and folds of a run, as its settings are now.

    Args:
        run: Run folder.
        method: The row.

    Returns:
        Files of those that are trained; what was trained with other settings is passed over.

    Raises:
        UserError: If there are none.
    """
    config = run.config
    pairs = [(seed, fold) for seed in config.seeds for fold in range(1, config.folds + 1)]
    found: list[Path] = []
    units: list[tuple[str, ...]] = []
    if ROWS[method].recipe is not None:
        units = [("student", f"seed{seed}-fold{fold}", method) for seed, fold in pairs]
    elif config.teacher_from is not None:
        other = Path(config.teacher_from)
        own = dict.fromkeys(teacher_for(other, seed) for seed in config.seeds)
        found = [path / WEIGHTS for path in own]
    else:
        names = [f"seed{seed}" for seed in config.seeds]
        units = [("teacher", name) for name in names + [f"seed{s}-fold{f}" for s, f in pairs]]
    for stage, *unit in units if not ROWS[method].external else []:
        path = run.folder(stage, *unit) / WEIGHTS
        if path.is_file() and run.has_settings(stage, *unit):
            found.append(path)
        elif path.is_file():
            _log.warning("passed over, trained with other settings: %s", path)
    if not found or ROWS[method].external:
        trained = sorted({path.parent.name for path in run.path.glob(f"student/*/*/{WEIGHTS}")})
        raise problem(
            run.path,
            f"no trained network of the row {method!r}",
            f"one of {', '.join(trained) or 'the rows of a finished run'}",
            "choose it with --method, or train it first",
        )
    return found


def read_inputs(path: Path) -> list[Scan]:
    """Scans to segment: one NIfTI file, or a folder or CSV in any layout that can be read."""
    if path.is_file() and path.name.endswith((".nii", ".nii.gz")):
        name = path.name.removesuffix(".gz").removesuffix(".nii")
        return [Scan(name, name, "input", path, None)]
    found = read_dataset(guess_kind(path) or "hospital", path)
    for one in found.rejected:
        _log.warning("rejected: %s: %s", one.where, one.reason)
    return found.scans


def predict(
    scans: list[Scan],
    weights: list[Path],
    config: Config,
    out: Path,
    device: torch.device,
    *,
    overlap: float | None = None,
    flip_average: bool = False,
) -> list[Path]:
    """Writes a mask for each scan, on the scan's own grid and with its affine.

    Foreground probabilities are averaged over the networks. A scan whose mask is there already is
    skipped, so that an interrupted run goes on; one that cannot be read is reported and skipped.

    Args:
        scans: What to segment.
        weights: Trained networks.
        config: Settings they were trained with.
        out: Folder of the masks, ``NAME.nii.gz``.
        device: Where to compute.
        overlap: Of the windows, instead of that of the settings.
        flip_average: Average over flips, even where the settings do not.

    Returns:
        The masks' files.

    Raises:
        UserError: If no scan could be read, or ``out`` holds masks of other networks,
            settings or scans.
    """
    if overlap is not None:
        config = dataclasses.replace(config, overlap=overlap)
    if flip_average:
        config = dataclasses.replace(config, flip_average=True)
    _claim(out, weights, config)
    networks = [load_network(path, device) for path in weights]
    axes = config.flip_axes if config.flip_average else ()
    written: list[Path] = []
    for scan in tqdm(scans, desc="predict", unit="scan"):
        path = out / f"{scan.name}.nii.gz"
        record = out / ".sources" / f"{scan.name}.json"
        try:
            own = {"image": str(scan.image.resolve()), "files": scan_key(scan, config)}
        except OSError as error:
            tqdm.write(f"skipped: {error}")
            continue
        if path.exists() and read_json(record) != own:
            raise problem(
                path,
                f"there already, and not the mask of {scan.image} as it is now",
                "a folder without masks of other scans of that name",
                "choose another with --masks, or remove that mask",
            )
        if not path.exists():
            try:
                image, grids, _ = prepare_image(scan, config)
            except UserError as error:
                tqdm.write(f"skipped: {error}")
                continue
            found = [
                foreground_probability(network, image, config.patch, config.overlap, axes)
                for network in networks
            ]
            mask = to_grid(torch.stack(found).mean(0), grids["grid"], grids["own_grid"])
            write_json(record, own)
            write_nifti(path, mask, grids["own_grid"].affine)
        written.append(path)
    if not written:
        raise problem(out, "none of the scans could be read", "readable scans", "see above")
    return written


def _claim(out: Path, weights: list[Path], config: Config) -> None:
    """Notes in ``out`` what makes its masks, so that none of another network is taken for ours."""
    record = {
        "weights": [[str(path), path.stat().st_mtime_ns] for path in weights],
        "overlap": config.overlap,
        "flip_average": config.flip_average,
    }
    path = out / "predict.json"
    if path.exists() and read_json(path) != record:
        raise problem(
            out,
            "masks of other networks or settings",
            "an empty folder, or one of the same command",
            "choose another with --masks",
        )
    write_json(path, record)
