"""Commands ``export-nnunet`` and ``import-nnunet``: the same folds for nnU-Net, and its answers."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

from examples.covid3d.common.errors import problem
from examples.covid3d.common.files import write_csv, write_json
from examples.covid3d.measure.evaluate import entries_of, measure
from examples.covid3d.measure.nnunet_bridge import (
    Image,
    export_fold,
    import_predictions,
    splits_by_patient,
)
from examples.covid3d.run.context import Context
from examples.covid3d.run.environment import environment
from examples.covid3d.scans.manifest import Entry
from examples.covid3d.scans.nifti import load_mask
from examples.covid3d.scans.splits import Replicate
from examples.covid3d.scans.store import stored
from examples.covid3d.scans.volumes import load_scan

_log = logging.getLogger("examples.covid3d")
_METHOD = "nnunet"
_LARGEST_ID = 999


def _replicate(context: Context, fold: int) -> Replicate:
    """The fold under the first seed: nnU-Net takes no seed of ours."""
    seed = context.config.seeds[0]
    for replicate in context.replicates():
        if (replicate.seed, replicate.fold) == (seed, fold):
            return replicate
    raise problem(
        "--fold", f"{fold}", f"1 to {context.config.folds}", "choose one of the run's folds"
    )


def _image(context: Context, entry: Entry) -> Image:
    scan = entry.scan(context.prepared)
    if scan.series is None:
        return scan.image
    voxels, grid = load_scan(scan)
    return voxels, grid.affine


def export_folds(context: Context, folder: Path, dataset_id: int) -> list[Path]:
    """Writes each fold as a raw dataset of nnU-Net v2, numbered from ``dataset_id``.

    Its training cases are all expert scans that do not test, those of the teacher and the trusted
    ones: what ``supervised-all`` learns from. ``splits_final.json`` splits them by patient.

    Args:
        context: Run folder with prepared scans.
        folder: ``nnUNet_raw``.
        dataset_id: Of the first fold.

    Returns:
        The datasets' folders.

    Raises:
        UserError: If a dataset is there already or a scan is unusable.
    """
    folds = context.config.folds
    if not 1 <= dataset_id <= _LARGEST_ID - folds + 1:
        raise problem(
            "--dataset-id",
            f"{dataset_id}",
            f"1 to {_LARGEST_ID}, for each of {folds} folds: nnU-Net's names have three digits",
            "pass for instance --dataset-id 501",
        )
    written = []
    labels = context.config.foreground_labels
    for fold in range(1, context.config.folds + 1):
        roles = _replicate(context, fold).roles
        training = entries_of(context, (*roles["teacher"], *roles["trusted"]))
        tests = entries_of(context, roles["test"])
        channel = "CT" if context.config.intensity == "ct" else "image"

        def cases(entries: list[Entry]) -> Iterator[tuple[str, Image, Path | None]]:
            for entry in entries:
                yield entry.name, _image(context, entry), entry.scan(context.prepared).mask

        written.append(
            export_fold(
                folder,
                dataset_id + fold - 1,
                f"fold{fold}",
                cases(training),
                ((name, image) for name, image, _ in cases(tests)),
                splits_by_patient((entry.name, entry.patient) for entry in training),
                foreground=labels,
                known=tuple(sorted({0, *labels, *(n for one in training for n in one.labels)})),
                channel=channel,
            )
        )
        _log.info("fold %d: %s", fold, written[-1])
    return written


def import_fold(context: Context, predictions: Path, fold: int) -> None:
    """Measures nnU-Net's predictions for a fold's test scans as the row ``nnunet``.

    Args:
        context: Run folder with prepared scans.
        predictions: Folder of ``NAME.nii.gz``, one for each test scan.
        fold: Which fold.

    Raises:
        UserError: If a prediction is missing, or not on its scan's grid.
    """
    replicate = _replicate(context, fold)
    entries = entries_of(context, replicate.roles["test"])
    grids = {
        entry.name: (
            entry.scan(context.prepared).image,
            stored(context.prepared, entry.name).own_grid,
        )
        for entry in entries
    }
    found = import_predictions(predictions, list(grids), grids)
    rows = []
    made = environment(context.device)
    with context.run.working("evaluate", (replicate.name, _METHOD), made) as folder:
        (folder / "predictions").mkdir(exist_ok=True)
        for entry in entries:
            image, grid = grids[entry.name]
            mask = load_mask(found[entry.name], image, grid)
            kept = folder / "predictions" / f"{entry.name}.nii.gz"
            kept.write_bytes(found[entry.name].read_bytes())
            rows.append(measure(context, replicate, _METHOD, entry, mask))
        write_json(folder / "training.json", {})
        write_csv(folder / "metrics.csv", rows)
