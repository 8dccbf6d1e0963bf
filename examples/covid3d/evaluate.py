"""Stage ``evaluate``: test scans on their own grid, and how good the pseudo-labels were."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from examples.covid3d.files import read_arrays, read_csv, write_csv, write_nifti
from examples.covid3d.inference import lesion_probability, load_network
from examples.covid3d.metrics import compare, dice
from examples.covid3d.nifti import load_mask
from examples.covid3d.patches import Size, cut, pad_to
from examples.covid3d.prepare import load_expert_mask, load_prepared, load_sources
from examples.covid3d.stages import Context


def networks(context: Context) -> dict[str, Path]:
    """Weights to evaluate, by method; the teacher first."""
    student = context.run.folder("student")
    found = {"teacher": context.run.folder("teacher") / "weights.pt"}
    return found | {method: student / method / "weights.pt" for method in context.config.methods}


def _evaluate_tests(context: Context, folder: Path) -> list[dict[str, Any]]:
    prepared = context.run.folder("prepare")
    sources = load_sources(prepared, "test")
    rows = []
    for method, weights in networks(context).items():
        network = load_network(weights, context.device)
        for source in tqdm(sources, desc=f"evaluate {method}", unit="scan"):
            scan = load_prepared(prepared, source.name)
            probability = lesion_probability(
                network, scan.image, context.config.patch, context.config.overlap
            )
            predicted = scan.to_own_grid(probability)
            path = folder / "predictions" / method / f"{source.name}.nii.gz"
            write_nifti(path, predicted, scan.own_grid.affine)
            if source.mask is None:
                raise ValueError(f"test scan {source.name} has no mask")
            true = load_mask(source.mask, source.image, scan.own_grid)
            score = compare(predicted, true, scan.own_grid.spacing)
            volume_ml = abs(float(np.linalg.det(scan.own_grid.affine[:3, :3]))) / 1000
            rows.append(
                {
                    "method": method,
                    "scan": source.name,
                    "patient": source.patient,
                    "dice": score.dice,
                    "hd_mm": score.hd,
                    "hd95_mm": score.hd95,
                    "missed": int(score.missed),
                    "false_alarm": int(score.false_alarm),
                    "expert_ml": float(true.sum()) * volume_ml,
                    "predicted_ml": float(predicted.sum()) * volume_ml,
                }
            )
    return rows


def _evaluate_pseudo_labels(context: Context) -> list[dict[str, Any]]:
    prepared, labels = context.run.folder("prepare"), context.run.folder("pseudo-label")
    rows = []
    for source in load_sources(prepared, "unlabelled"):
        truth = load_expert_mask(prepared, source.name)
        pseudo = read_arrays(labels / f"{source.name}.npz")["mask"]
        scan = load_prepared(prepared, source.name)
        voxel_ml = float(np.prod(scan.grid.spacing)) / 1000
        rows.append(
            {
                "scan": source.name,
                "dice": "" if truth is None else dice(pseudo, truth),
                "expert_ml": "" if truth is None else float(truth.sum()) * voxel_ml,
                "pseudo_ml": float(pseudo.sum()) * voxel_ml,
            }
        )
    return rows


def _judge_samples(context: Context, method: str) -> list[dict[str, Any]]:
    """Each weighted training patch with the true Dice of its pseudo-label."""
    prepared, labels = context.run.folder("prepare"), context.run.folder("pseudo-label")
    patch = context.config.patch
    pairs = {}
    for source in load_sources(prepared, "unlabelled"):
        truth = load_expert_mask(prepared, source.name)
        if truth is not None:
            pseudo = read_arrays(labels / f"{source.name}.npz")["mask"]
            pairs[source.name] = (pad_to(pseudo, patch), pad_to(truth, patch))
    rows: list[dict[str, Any]] = []
    for row in read_csv(context.run.folder("student") / method / "samples.csv"):
        judged: dict[str, Any] = dict(row)
        if row["scan"] in pairs:
            origin: Size = (int(row["x"]), int(row["y"]), int(row["z"]))
            labels_here, truth_here = (cut(both, origin, patch) for both in pairs[row["scan"]])
            judged["pseudo_dice"] = dice(labels_here, truth_here)
        else:
            judged["pseudo_dice"] = ""
        rows.append(judged)
    return rows


def evaluate(context: Context, folder: Path) -> None:
    """Evaluates the teacher and every student.

    Writes ``metrics.csv`` (a row for each method and test scan, on the scan's own grid),
    ``predictions/METHOD/NAME.nii.gz``, ``pseudo_labels.csv`` and, for each method that reweights,
    ``samples_METHOD.csv``.

    Args:
        context: Run folder and device.
        folder: Where to write.
    """
    write_csv(folder / "metrics.csv", _evaluate_tests(context, folder))
    write_csv(folder / "pseudo_labels.csv", _evaluate_pseudo_labels(context))
    for method in context.config.methods:
        rows = _judge_samples(context, method)
        if rows:
            write_csv(folder / f"samples_{method}.csv", rows)
