"""The command line: ``python -m examples.covid3d COMMAND``."""

from __future__ import annotations

import argparse
import logging
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from examples.covid3d.commands import audit_trial
from examples.covid3d.commands.nnunet_commands import export_folds, import_fold
from examples.covid3d.commands.options import (
    configure,
    device_of,
    kept_settings,
    setting_options,
    shared_options,
)
from examples.covid3d.commands.predict import find_weights, predict, read_inputs
from examples.covid3d.common.config import STAGES
from examples.covid3d.common.errors import UserError
from examples.covid3d.methods.rows import ROWS
from examples.covid3d.run.context import Context
from examples.covid3d.run.pipeline import run_stages
from examples.covid3d.run.run_folder import RunFolder

_STAGE_HELP = {
    "run": "all the stages; what is complete is skipped",
    "prepare": "resample and window the scans (draw the phantoms first, without --data)",
    "teacher": "train the teacher on a few expert-annotated scans",
    "pseudo-label": "label the unlabelled scans with the teacher",
    "student": "train a student for each row",
    "evaluate": "segment the test scans and measure",
    "report": "write report.html, the tables and the figures",
}
_PREDICT = "segment new scans, each on its own grid"
_EXPORT = "write the folds in nnU-Net's raw format"
_IMPORT = "measure nnU-Net's predictions as the row `nnunet`"


def build_parser() -> argparse.ArgumentParser:
    """Builds the parser: a command for each stage, ``run`` for all, and those for other data."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.covid3d",
        description="Segment COVID-19 lesions in chest CT: a noisy teacher, reweighted students.",
        epilog="`run --preset demo` needs no data and takes a few minutes on two cores.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    shared, settings = shared_options(), setting_options()
    for name in ("run", *STAGES):
        text = _STAGE_HELP[name]
        commands.add_parser(name, parents=[shared, settings], help=text, description=text)
    new = commands.add_parser("predict", parents=[shared], help=_PREDICT, description=_PREDICT)
    new.add_argument("input", type=Path, help="a NIfTI file, or a folder or CSV of scans")
    new.add_argument("--method", required=True, choices=list(ROWS), help="row whose weights to use")
    new.add_argument("--masks", type=Path, help="folder of the masks (default: OUT/predicted)")
    new.add_argument("--flip-average", action="store_true", help="average over the flips")
    new.add_argument("--overlap", type=float, metavar="SHARE", help="overlap of windows")
    to = commands.add_parser("export-nnunet", parents=[shared], help=_EXPORT, description=_EXPORT)
    to.add_argument("raw", type=Path, help="folder nnUNet_raw")
    to.add_argument("--dataset-id", type=int, default=501, help="number of fold 1 (default: 501)")
    back = commands.add_parser("import-nnunet", parents=[shared], help=_IMPORT, description=_IMPORT)
    back.add_argument("predictions", type=Path, help="folder of NAME.nii.gz")
    back.add_argument("--fold", type=int, default=1, help="which fold (default: 1)")
    trial = commands.add_parser("audit-trial", help=audit_trial.HELP, description=audit_trial.HELP)
    audit_trial.add_options(trial)
    return parser


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    """One line a warning, without the source line that raised it, clear of progress bars."""
    tqdm.write(f"warning: {message}", file=sys.stderr)


def _run(parsed: argparse.Namespace) -> None:
    out, config = configure(parsed)
    parsed.out = out
    stages = STAGES if parsed.command == "run" else (parsed.command,)
    run = run_stages(out, config, stages, device_of(parsed.device), jobs=parsed.jobs)
    if stages[-1] == "report":
        print((run.folder("report") / "verdict.txt").read_text(encoding="utf-8"))
        print(f"Report: {run.folder('report') / 'report.html'}")


def _on_finished_run(parsed: argparse.Namespace) -> None:
    out: Path = parsed.out or Path("runs") / "small"
    parsed.out = out
    config = kept_settings(out)
    device = device_of(parsed.device)
    if parsed.command == "predict":
        masks = parsed.masks or out / "predicted"
        weights = find_weights(RunFolder(out, config), parsed.method)
        written = predict(
            read_inputs(parsed.input),
            weights,
            config,
            masks,
            device,
            overlap=parsed.overlap,
            flip_average=parsed.flip_average,
        )
        print(f"{len(written)} masks in {masks}, by {len(weights)} network(s)")
        return
    run = RunFolder(out, config)
    run.require(parsed.command, "prepare")
    context = Context(run, device)
    if parsed.command == "export-nnunet":
        for folder in export_folds(context, parsed.raw, parsed.dataset_id):
            print(folder)
    else:
        import_fold(context, parsed.predictions, parsed.fold)
        print(f"Measured. For the tables: python -m examples.covid3d report --out {out}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command.

    Args:
        arguments: Command line, without the program; that of the process by default.

    Returns:
        Exit status: 0, 2 for an error of the user's, 130 when interrupted.
    """
    parsed = build_parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr, force=True)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            if parsed.command in _STAGE_HELP:
                _run(parsed)
            elif parsed.command == "audit-trial":
                print(f"Tables: {audit_trial.run(parsed)}")
            else:
                _on_finished_run(parsed)
    except (UserError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        again = "Run the same command again"
        if parsed.command in _STAGE_HELP:
            again = f"python -m examples.covid3d {parsed.command} --out {parsed.out}"
            again += f" --device {parsed.device}" if parsed.device != "cpu" else ""
            again += f" --jobs {parsed.jobs}" if parsed.jobs != 1 else ""
        print(f"\nInterrupted. To resume: {again}", file=sys.stderr)
        return 130
    return 0
