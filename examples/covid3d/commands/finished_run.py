"""Commands that start from a finished run: its networks, its folds."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from examples.covid3d.commands.nnunet_commands import export_folds, import_fold
from examples.covid3d.commands.options import device_of
from examples.covid3d.commands.predict import find_weights, predict, read_inputs
from examples.covid3d.commands.predictions import TABLE, Wanted
from examples.covid3d.commands.seen import seen_in_training
from examples.covid3d.common.errors import problem
from examples.covid3d.run.context import Context
from examples.covid3d.run.run_folder import RunFolder
from examples.covid3d.run.settings_file import kept_settings


def context_of(parsed: argparse.Namespace) -> Context:
    """The run that a command starts from."""
    out: Path = parsed.out or Path("runs") / "small"
    parsed.out = out
    return Context(RunFolder(out, kept_settings(out)), device_of(parsed.device))


def predict_command(parsed: argparse.Namespace) -> int:
    """Segments new scans with a row's networks; 1 if some were skipped."""
    context = context_of(parsed)
    folder = (parsed.masks or parsed.out / "predicted") / parsed.method
    weights = find_weights(context.run, parsed.method)
    if folder.resolve().is_relative_to(parsed.input.resolve()):
        raise problem(
            "--masks",
            f"{folder} lies in the scans, {parsed.input}",
            "a folder apart: masks would be taken for scans the next time",
            "choose another --masks",
        )
    found = read_inputs(parsed.input)
    done = predict(
        found,
        weights,
        context.config,
        folder,
        context.device,
        method=parsed.method,
        overlap=parsed.overlap,
        flip_average=parsed.flip_average,
        wanted=Wanted(parsed.probabilities, parsed.dicom_seg),
        seen=seen_in_training(context, parsed.method),
    )
    print(f"{len(done.masks)} masks in {folder}, by {len(weights)} network(s); see {TABLE} there")
    if not done.skipped:
        return 0
    print(f"Skipped {len(done.skipped)}:", file=sys.stderr)
    for one in done.skipped:
        print(f"  {one.where}: {one.reason}", file=sys.stderr)
    return 1


def export_command(parsed: argparse.Namespace) -> None:
    """Writes the folds for nnU-Net."""
    context = context_of(parsed)
    context.run.require(parsed.command, "prepare")
    for folder in export_folds(context, parsed.raw, parsed.dataset_id):
        print(folder)


def import_command(parsed: argparse.Namespace) -> None:
    """Measures nnU-Net's predictions."""
    context = context_of(parsed)
    context.run.require(parsed.command, "prepare")
    import_fold(context, parsed.predictions, parsed.fold)
    print(f"Measured. For the tables: python -m examples.covid3d report --out {parsed.out}")
