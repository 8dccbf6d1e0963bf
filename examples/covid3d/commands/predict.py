"""Command ``predict``: masks of new scans, each on its own grid, and how sure they are."""

from __future__ import annotations

import dataclasses
import logging
import sys
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from tqdm import tqdm

from examples.covid3d.commands.predictions import TRAINED_ON, Predictions, Wanted
from examples.covid3d.common.config import Config
from examples.covid3d.common.errors import UserError, problem
from examples.covid3d.measure.certainty import segmentation
from examples.covid3d.methods.rows import ROWS
from examples.covid3d.run.other_teacher import teacher_for
from examples.covid3d.run.run_folder import RunFolder
from examples.covid3d.scans.dicom_seg import highdicom
from examples.covid3d.scans.prepare_scan import prepare_image
from examples.covid3d.scans.readers import guess_kind, read_dataset
from examples.covid3d.scans.readers.scan import Found, Rejected, Scan
from examples.covid3d.scans.rejecting import stop_for
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


def read_inputs(path: Path) -> Found:
    """Scans to segment: one NIfTI file, or a folder or CSV in any layout that can be read."""
    if path.is_file() and path.name.endswith((".nii", ".nii.gz")):
        name = path.name.removesuffix(".gz").removesuffix(".nii")
        return Found([Scan(name, name, "input", path, None)], [])
    kind = guess_kind(path) or "hospital"
    found = read_dataset(kind, path)
    # A table names its scans, whatever lies beside them.
    beside = _passed_over(found, kind) if path.is_dir() else []
    return Found(found.scans, [*found.rejected, *beside])


def _passed_over(found: Found, kind: str) -> list[Rejected]:
    """NIfTI files beside the scans that the layout has no place for: never left out in silence."""
    known = {path for scan in found.scans for path in (scan.image, scan.mask)}
    known |= {Path(one.where) for one in found.rejected}
    folders = {scan.image.parent for scan in found.scans if scan.series is None}
    return [
        Rejected(str(path), f"no scan by the layout {kind!r} that its folder was taken for")
        for folder in sorted(folders)
        for path in sorted(folder.iterdir())
        if path.name.endswith((".nii", ".nii.gz"))
        and not path.name.startswith(".")
        and path not in known
    ]


@dataclass(frozen=True)
class Predicted:
    """What came of a command.

    Attributes:
        masks: The masks' files, those of an earlier attempt among them.
        skipped: What has none, and why.
    """

    masks: list[Path]
    skipped: list[Rejected]


def predict(
    found: Found,
    weights: list[Path],
    config: Config,
    out: Path,
    device: torch.device,
    *,
    method: str,
    overlap: float | None = None,
    flip_average: bool = False,
    wanted: Wanted | None = None,
    seen: Mapping[str, str] | None = None,
) -> Predicted:
    """Segments each scan on its own grid; see :class:`Predictions` for what is written.

    Foreground probabilities are averaged over the networks. A scan whose files are there already is
    not segmented again, so that an interrupted run goes on; one that cannot be read is left out,
    with the reason. A scan that the networks were trained on is warned of.

    Args:
        found: What to segment, and what could not even be listed.
        weights: Trained networks.
        config: Settings they were trained with.
        out: Folder of this method's predictions.
        device: Where to compute.
        method: The row, named in the table.
        overlap: Of the windows, instead of that of the settings.
        flip_average: Average over flips, even where the settings do not.
        wanted: What to write beside masks, pictures and the table.
        seen: Scans that the networks were trained on: checksum of the voxels to what is said of it.

    Returns:
        Masks, and what was skipped.

    Raises:
        UserError: If no scan could be read, or ``out`` holds masks of other networks,
            settings or scans.
    """
    wanted = wanted or Wanted()
    if wanted.dicom_seg:
        highdicom()
        if not any(scan.series for scan in found.scans):
            raise problem(
                "--dicom-seg", "no DICOM series among the scans", "DICOM", "leave --dicom-seg out"
            )
    if overlap is not None:
        config = dataclasses.replace(config, overlap=overlap)
    if flip_average:
        config = dataclasses.replace(config, flip_average=True)
    predictions = Predictions(out, method, config, wanted)
    predictions.claim(weights)
    networks = [load_network(path, device) for path in weights]
    axes = config.flip_axes if config.flip_average else ()
    masks: list[Path] = []
    skipped = list(found.rejected)
    for scan in tqdm(found.scans, desc="predict", unit="scan"):
        try:
            there = predictions.has(scan)
        except FileNotFoundError as error:
            skipped.append(_skipped(scan, error))
            continue
        try:
            if not there:
                image, grids, facts = prepare_image(scan, config)
                each = [
                    foreground_probability(network, image, config.patch, config.overlap, axes)
                    for network in networks
                ]
                made = segmentation(each, grids["grid"], grids["own_grid"])
                trained_on = (seen or {}).get(facts["voxels_sha256"], "")
                predictions.add(scan, made, grids["own_grid"], trained_on)
        except UserError as error:
            stop_for(error)
            skipped.append(_skipped(scan, error))
        if predictions.mask(scan).exists():
            masks.append(predictions.mask(scan))
    predictions.write_table(skipped)
    if not masks:
        raise problem(
            out,
            f"none of {len(skipped)} scans could be read; the first: {skipped[0].reason}",
            "readable scans",
            "mend the files",
        )
    _warn_of_trained(predictions.rows([scan.name for scan in found.scans]))
    return Predicted(masks, skipped)


def _skipped(scan: Scan, error: Exception) -> Rejected:
    reason = " ".join(str(error).split()).removeprefix(f"{scan.image}: ")
    one = Rejected(str(scan.image), reason)
    tqdm.write(f"skipped: {error}", file=sys.stderr)
    return one


def _warn_of_trained(rows: list[dict[str, object]]) -> None:
    known = [str(row["scan"]) for row in rows if row[TRAINED_ON]]
    if known:
        more = f" and {len(known) - 5} more" if len(known) > 5 else ""
        warnings.warn(
            f"{len(known)} of {len(rows)} scans took part in the training of these networks: "
            f"{', '.join(known[:5])}{more}. Their masks say nothing of how good the networks are "
            f"on new scans (column {TRAINED_ON} of the table)",
            stacklevel=2,
        )
