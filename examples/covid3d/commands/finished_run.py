"""Commands that start from a finished run: its networks, its folds."""

from __future__ import annotations

import argparse
from pathlib import Path

from examples.covid3d.commands.nnunet_commands import export_folds, import_fold
from examples.covid3d.commands.options import device_of
from examples.covid3d.commands.predict import find_weights, predict, read_inputs
from examples.covid3d.run.context import Context
from examples.covid3d.run.run_folder import RunFolder
from examples.covid3d.run.settings_file import kept_settings


def _context(parsed: argparse.Namespace) -> Context:
    out: Path = parsed.out or Path("runs") / "small"
    parsed.out = out
    return Context(RunFolder(out, kept_settings(out)), device_of(parsed.device))


def predict_command(parsed: argparse.Namespace) -> None:
    """Segments new scans with a row's networks."""
    context = _context(parsed)
    masks = parsed.masks or parsed.out / "predicted"
    weights = find_weights(context.run, parsed.method)
    written = predict(
        read_inputs(parsed.input),
        weights,
        context.config,
        masks,
        context.device,
        overlap=parsed.overlap,
        flip_average=parsed.flip_average,
    )
    print(f"{len(written)} masks in {masks}, by {len(weights)} network(s)")


def export_command(parsed: argparse.Namespace) -> None:
    """Writes the folds for nnU-Net."""
    context = _context(parsed)
    context.run.require(parsed.command, "prepare")
    for folder in export_folds(context, parsed.raw, parsed.dataset_id):
        print(folder)


def import_command(parsed: argparse.Namespace) -> None:
    """Measures nnU-Net's predictions."""
    context = _context(parsed)
    context.run.require(parsed.command, "prepare")
    import_fold(context, parsed.predictions, parsed.fold)
    print(f"Measured. For the tables: python -m examples.covid3d report --out {parsed.out}")
