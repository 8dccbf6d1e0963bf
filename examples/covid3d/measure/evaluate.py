"""Stage ``evaluate``: test scans on their own grid, and how good the pseudo-labels were."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from examples.covid3d.common.errors import problem
from examples.covid3d.common.files import read_csv, read_json, write_csv, write_json, write_nifti
from examples.covid3d.measure.metrics import compare, dice
from examples.covid3d.methods.rows import ROWS
from examples.covid3d.run.context import Context
from examples.covid3d.scans.manifest import Entry, read_manifest
from examples.covid3d.scans.nifti import load_mask
from examples.covid3d.scans.splits import Replicate
from examples.covid3d.scans.store import StoredScan, mapped, stored, stored_with_mask
from examples.covid3d.scans.volumes import checksum_of_mask
from examples.covid3d.train.inference import load_network
from examples.covid3d.train.patches import Size, cut
from examples.covid3d.train.training import WEIGHTS


def trained_in(context: Context, replicate: Replicate, method: str) -> Path:
    """Folder of a row's training: the teacher's for ``supervised``, else its own."""
    if ROWS[method].recipe is None:
        return context.teacher_folder(replicate)
    return context.run.folder("student", replicate.name, method)


def measure(
    context: Context,
    replicate: Replicate,
    method: str,
    entry: Entry,
    predicted: NDArray[np.generic],
) -> dict[str, Any]:
    """Compares a prediction on a test scan's own grid with the expert's mask.

    Args:
        context: Run folder and device.
        replicate: Seed and fold.
        method: The row's name.
        entry: The scan.
        predicted: Labels 0 or 1 on the scan's own grid.

    Returns:
        A row of ``metrics.csv``.
    """
    scan = entry.scan(context.prepared)
    grid = stored(context.prepared, entry.name).own_grid
    if scan.mask is None:
        raise ValueError(f"test scan {entry.name} has no mask")
    true = load_mask(scan.mask, scan.image, grid, context.config.foreground_labels, scan.labels)
    if entry.mask_sha256 and checksum_of_mask(true) != entry.mask_sha256:
        raise problem(
            scan.mask,
            "another mask than when the scan was prepared",
            "one truth for all rows",
            "run `prepare` again, which notes the new one",
        )
    score = compare(predicted, true, grid.spacing, context.config.nsd_tolerance)
    return {
        "seed": replicate.seed,
        "fold": replicate.fold,
        "method": method,
        "scan": entry.name,
        "patient": entry.patient,
        "source": entry.source,
        "dice": score.dice,
        "hd_mm": score.hd,
        "hd95_mm": score.hd95,
        "nsd": score.nsd,
        "missed": int(score.missed),
        "false_alarm": int(score.false_alarm),
        "expert_ml": float(true.sum()) * grid.voxel_ml,
        "predicted_ml": float(predicted.sum()) * grid.voxel_ml,
    }


def entries_of(context: Context, names: tuple[str, ...]) -> list[Entry]:
    """The manifest's entries of some scans, in the given order."""
    by_name = {entry.name: entry for entry in read_manifest(context.prepared)}
    return [by_name[name] for name in names]


def evaluate(context: Context, replicate: Replicate, method: str, folder: Path) -> None:
    """Evaluates one row in one replicate.

    Writes ``metrics.csv`` (a line for each test scan, on the scan's own grid),
    ``predictions/NAME.nii.gz``, ``training.json`` (seconds and steps) and, for a row that
    reweights, ``samples.csv``: every weight beside the true Dice of its pseudo-label, where a truth
    is known.

    Args:
        context: Run folder and device.
        replicate: Seed and fold.
        method: The row's name.
        folder: Where to write.
    """
    trained = trained_in(context, replicate, method)
    network = load_network(trained / WEIGHTS, context.device)
    lesson = context.lesson(replicate, folder)
    rows = []
    title = f"evaluate {replicate.name} {method}"
    for entry in tqdm(
        entries_of(context, replicate.roles["test"]), desc=title, unit="scan", leave=False
    ):
        scan = stored(context.prepared, entry.name)
        predicted = scan.to_own_grid(lesson.probability(network, scan))
        path = folder / "predictions" / f"{entry.name}.nii.gz"
        write_nifti(path, predicted, scan.own_grid.affine)
        rows.append(measure(context, replicate, method, entry, predicted))
    write_json(folder / "training.json", read_json(trained / "timing.json"))
    _judge(context, replicate, trained, folder)
    write_csv(folder / "metrics.csv", rows)


def judge_pseudo_labels(context: Context, replicate: Replicate) -> list[dict[str, Any]]:
    """Each unlabelled scan with the volume of its pseudo-label and, if known, its true Dice."""
    labels = context.run.folder("pseudo-label", replicate.teacher)
    rows = []
    for name, truth in _truths(context, replicate).items():
        pseudo = stored(context.prepared, name, labels)
        voxel_ml = pseudo.grid.voxel_ml
        rows.append(
            {
                "seed": replicate.seed,
                "fold": replicate.fold,
                "scan": name,
                "dice": "" if truth is None else dice(pseudo.mask, truth.mask),
                "expert_ml": "" if truth is None else truth.foreground.size * voxel_ml,
                "pseudo_ml": pseudo.foreground.size * voxel_ml,
            }
        )
    return rows


def _truths(context: Context, replicate: Replicate) -> Mapping[str, StoredScan | None]:
    """The experts' masks of unlabelled scans, where there are any; no training sees them."""
    entries = entries_of(context, replicate.roles["unlabelled"])
    return {
        entry.name: stored_with_mask(context.prepared, entry.name) if entry.has_mask else None
        for entry in entries
    }


def _judge(context: Context, replicate: Replicate, trained: Path, folder: Path) -> None:
    """Writes each weighted training patch with the true Dice of its pseudo-label."""
    path = trained / "samples.csv"
    logged = read_csv(path) if path.exists() else []
    if not logged:
        return
    labels = context.run.folder("pseudo-label", replicate.teacher)
    truths = _truths(context, replicate)
    rows: list[dict[str, Any]] = []
    for row in logged:
        judged: dict[str, Any] = {"seed": replicate.seed, "fold": replicate.fold, **row}
        truth = truths[row["scan"]]
        judged["pseudo_dice"] = ""
        if truth is not None:
            origin: Size = (int(row["x"]), int(row["y"]), int(row["z"]))
            mask = mapped(labels / row["scan"] / "mask.npy")
            patch = context.config.patch
            judged["pseudo_dice"] = dice(cut(mask, origin, patch), cut(truth.mask, origin, patch))
        rows.append(judged)
    write_csv(folder / "samples.csv", rows)
