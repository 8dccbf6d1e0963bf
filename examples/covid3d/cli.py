"""The command line: ``python -m examples.covid3d COMMAND``."""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import torch
from tqdm import tqdm

from examples.covid3d.config import PRESETS, STAGES, Config, Start, from_json
from examples.covid3d.errors import UserError, problem
from examples.covid3d.files import read_csv
from examples.covid3d.pipeline import CONFIG, run_stages
from examples.covid3d.report.summary import summarise, verdict
from examples.covid3d.students import METHODS

_HELP = {
    "run": "all the stages; what is complete is skipped",
    "prepare": "resample and window the scans (draw the phantoms first, without --benchmark)",
    "teacher": "train the teacher on a few expert-annotated scans",
    "pseudo-label": "label the unlabelled scans with the teacher",
    "student": "train a student with each method",
    "evaluate": "segment the test scans and measure",
    "report": "write report.html, overlay.png and the tables",
}
# Options that set a field of the configuration, by field.
_OVERRIDES = (
    "seed", "benchmark", "unlabelled", "spacing", "patch", "batch_size", "learning_rate",
    "teacher_steps", "student_steps", "student_start", "methods", "checkpoint_every",
    "validate_every", "overlap",
)  # fmt: skip


def _methods(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    unknown = [name for name in names if name not in METHODS]
    if unknown or not names:
        raise argparse.ArgumentTypeError(
            f"unknown method {', '.join(unknown) or '(none)'}; choose from {', '.join(METHODS)}"
        )
    return names


def build_parser() -> argparse.ArgumentParser:
    """Builds the parser: one subcommand for each stage, and ``run``."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.covid3d",
        description="Segment COVID-19 lesions in chest CT: a noisy teacher, reweighted students.",
        epilog="`run --preset demo` needs no data and takes a few minutes on two cores.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    options = argparse.ArgumentParser(add_help=False)
    add = options.add_argument
    add("--out", type=Path, help="run folder (default: runs/PRESET); its settings are kept there")
    add("--preset", choices=sorted(PRESETS), help="demo: phantoms; small: with --benchmark")
    add("--benchmark", metavar="DIR", help="scans in the layout of the COVID-19-CT-Seg Benchmark")
    add("--unlabelled", metavar="DIR", help="further scans that have no masks (.nii.gz)")
    add("--device", default="cpu", help="cpu, cuda, cuda:1, mps (default: cpu)")
    add("--seed", type=int, help="seed of split, phantoms, initial state and batches")
    add("--teacher-steps", type=int, metavar="N", help="training steps of the teacher")
    add("--student-steps", type=int, metavar="N", help="training steps of each student")
    add("--student-start", choices=get_args(Start), help="weights that students start from")
    add("--methods", type=_methods, metavar="A,B", help=f"students: {', '.join(METHODS)}")
    add("--learning-rate", type=float, metavar="LR", help="initial learning rate of Adam")
    add("--batch-size", type=int, metavar="C", help="patches in a batch, C_p = C_v (paper: 4)")
    add("--patch", type=int, nargs=3, metavar=("X", "Y", "Z"), help="patch size, voxels")
    add("--spacing", type=float, nargs=3, metavar=("X", "Y", "Z"), help="voxel size, mm")
    add("--overlap", type=float, metavar="SHARE", help="overlap of windows in inference")
    add("--checkpoint-every", type=int, metavar="N", help="steps between checkpoints")
    add("--validate-every", type=int, metavar="N", help="steps between points of the Dice curve")
    for command in ("run", *STAGES):
        commands.add_parser(
            command, parents=[options], help=_HELP[command], description=_HELP[command]
        )
    return parser


def _configure(arguments: argparse.Namespace) -> tuple[Path, Config]:
    """The run folder and settings: the preset or those kept there, then the options given."""
    preset = arguments.preset
    out: Path | None = arguments.out
    if out is None:
        fallback = preset or ("small" if arguments.benchmark else "demo")
        out = Path("runs") / fallback
    kept = out / CONFIG
    if preset is None and kept.is_file():
        logging.info("settings from %s; give --preset to start from a preset", kept)
        try:
            config = from_json(json.loads(kept.read_text(encoding="utf-8")))
        except (ValueError, TypeError) as error:
            raise problem(
                kept, f"cannot be read ({error})", "settings of a run", "use a new --out folder"
            ) from error
    else:
        config = PRESETS[preset or ("small" if arguments.benchmark else "demo")]
    given: dict[str, Any] = {}
    for name in _OVERRIDES:
        value = getattr(arguments, name)
        if value is not None:
            given[name] = tuple(value) if isinstance(value, list) else value
    for name in ("benchmark", "unlabelled"):
        if name in given:
            given[name] = str(Path(given[name]).resolve())
    config = dataclasses.replace(config, **given)
    if config.unlabelled is not None and config.benchmark is None:
        raise problem(
            "--unlabelled", "given without --benchmark", "both", "add --benchmark DIR, or drop it"
        )
    return out, config


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise problem(
            "--device",
            f"{name!r} cannot be used ({reason})",
            "a device that works",
            "try --device cpu",
        ) from error
    return device


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    """One line a warning, without the source line that raised it, clear of progress bars."""
    tqdm.write(f"warning: {message}", file=sys.stderr)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command.

    Args:
        arguments: Command line, without the program; that of the process by default.

    Returns:
        Exit status: 0, 2 for an error of the user's, 130 when interrupted.
    """
    parsed = build_parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr, force=True)
    out = Path()
    try:
        out, config = _configure(parsed)
        stages = STAGES if parsed.command == "run" else (parsed.command,)
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            run = run_stages(out, config, stages, _device(parsed.device))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        resume = f"python -m examples.covid3d {parsed.command} --out {out}"
        if parsed.device != "cpu":
            resume += f" --device {parsed.device}"
        print(f"\nInterrupted. To resume: {resume}", file=sys.stderr)
        return 130
    if stages[-1] == "report":
        _print_result(run.folder("report"))
    return 0


def _print_result(folder: Path) -> None:
    rows = read_csv(folder / "metrics.csv")
    print(verdict(summarise(rows), rows))
    print(f"Report: {folder / 'report.html'}")
