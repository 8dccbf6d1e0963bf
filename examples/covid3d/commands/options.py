"""Options of the command line, and the settings they make."""

from __future__ import annotations

import argparse
import dataclasses
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from examples.covid3d.common.config import (
    KINDS,
    Amp,
    Config,
    Intensity,
    Keep,
    Norm,
    Schedule,
    Start,
)
from examples.covid3d.common.errors import problem
from examples.covid3d.methods.names import ROW_NAMES
from examples.covid3d.run.presets import PRESETS
from examples.covid3d.run.settings_file import AUDIT, CONFIG, kept_settings

if TYPE_CHECKING:
    import torch

# Options whose name is not that of a field of the configuration.
_NOT_SETTINGS = {
    "folder",
    "every",
    "command",
    "entry",
    "out",
    "preset",
    "device",
    "benchmark",
    "jobs",
    "redo",
}


def _methods(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    unknown = [name for name in names if name not in ROW_NAMES]
    if unknown or not names:
        raise argparse.ArgumentTypeError(
            f"unknown method {', '.join(unknown) or '(none)'}; choose from {', '.join(ROW_NAMES)}"
        )
    return names


def _seeds(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(seed) for seed in text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list such as 0,1,2") from error


def _jobs(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of 1 or more")
    return int(text)


def a_path(text: str) -> Path:
    """A path that was given: an empty one, of a shell variable never set, is the current folder."""
    if not text.strip():
        raise argparse.ArgumentTypeError("an empty path; give a file or a folder, `.` for this one")
    return Path(text)


def _path(text: str) -> str:
    return str(a_path(text))


def shared_options(out: str) -> argparse.ArgumentParser:
    """Options of every command: its folder, whose words these are, and the device."""
    options = argparse.ArgumentParser(add_help=False)
    options.add_argument("--out", type=a_path, help=out)
    options.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, mps (default: cpu)")
    return options


def annotated_scan_options(group: argparse._ArgumentGroup) -> None:
    """Options that say where annotated scans are, and how they are prepared."""
    add = group.add_argument
    add("--data", type=_path, metavar="PATH", help="expert-annotated scans: a folder, or a CSV")
    add("--kind", choices=KINDS, help="layout of --data (default: recognised)")
    add("--patients", type=_path, metavar="CSV", help="whose each scan is: columns scan, patient")
    add("--limit", type=int, metavar="N", help="at most N patients of each dataset")
    add("--foreground-labels", type=int, nargs="+", metavar="L", help="labels of the foreground")
    add("--spacing", type=float, nargs=3, metavar=("X", "Y", "Z"), help="voxel size, mm")
    add("--intensity", choices=get_args(Intensity), help="ct (HU), window (any), zscore (MR)")
    add("--window", type=float, nargs=2, metavar=("LOW", "HIGH"), help="window, HU for CT")
    add("--max-rejected", type=float, metavar="N", help="share or number of scans to do without")


def setting_options() -> argparse.ArgumentParser:
    """Options that make the settings of a run."""
    options = argparse.ArgumentParser(add_help=False)
    switch = argparse.BooleanOptionalAction
    options.add_argument(
        "--preset", choices=sorted(PRESETS), help="settings to start from (default: demo or small)"
    )
    options.add_argument(
        "--jobs",
        type=_jobs,
        metavar="N",
        help="trainings at the same time (default: 1; for the demo 2)",
    )
    options.add_argument(
        "--redo",
        action="store_true",
        help="train again what is finished under other settings or with other scans",
    )
    data = options.add_argument_group("data")
    annotated_scan_options(data)
    add = data.add_argument
    add("--benchmark", type=_path, metavar="DIR", help="short for --data DIR --kind benchmark")
    add(
        "--unlabelled",
        type=_path,
        metavar="PATH",
        help="scans without masks",
    )
    add("--unlabelled-kind", choices=KINDS, help="layout of --unlabelled (default: recognised)")
    add("--pseudonyms", action=switch, help="names and paths in no list and no report")
    add = options.add_argument_group("split").add_argument
    add("--seeds", type=_seeds, metavar="A,B", help="seeds; the experiment is repeated for each")
    add("--folds", type=int, metavar="K", help="folds by patient; 1 for one held-out part")
    roles = ("TEACHER", "TRUSTED", "UNLABELLED", "TEST")
    add("--shares", type=float, nargs=4, metavar=roles, help="shares or numbers of the patients")
    add("--split-seed", type=int, help="seed of the choice of the test patients")
    add("--teacher-once", action=switch, help="one teacher for all folds, on patients set aside")
    add(
        "--teacher-from",
        type=_path,
        metavar="RUN",
        help="take the teachers of that run",
    )
    add = options.add_argument_group("training").add_argument
    add("--methods", type=_methods, metavar="A,B", help=f"rows: {', '.join(ROW_NAMES)}")
    add("--channels", type=int, nargs="+", metavar="N", help="channels of each level")
    add("--norm", choices=get_args(Norm), help="normalisation of the network (paper: batch)")
    add("--patch", type=int, nargs=3, metavar=("X", "Y", "Z"), help="patch size, voxels")
    add("--batch-size", type=int, metavar="C", help="patches in a batch, C_p = C_v (paper: 4)")
    add("--learning-rate", type=float, metavar="LR", help="initial learning rate of Adam")
    add("--schedule", choices=get_args(Schedule), help="how the learning rate falls")
    add("--teacher-steps", type=int, metavar="N", help="training steps of the teacher")
    add("--student-steps", type=int, metavar="N", help="training steps of each student")
    add("--teacher-epochs", type=int, metavar="N", help="epochs of the teacher, instead of steps")
    add("--student-epochs", type=int, metavar="N", help="epochs of a student, instead of steps")
    add("--patience", type=int, metavar="N", help="stop after N epochs of no lower mean loss")
    add("--student-start", choices=get_args(Start), help="weights that students start from")
    add("--mixing", type=float, metavar="λ", help="share of gradient similarity (paper: 0.5)")
    add("--groups", type=int, metavar="K", help="groups of the semi-supervised row")
    add("--foreground", type=float, metavar="P", help="share of patches drawn around foreground")
    add("--flip-axes", type=int, nargs="*", metavar="A", help="axes of random flips, of 0 1 2")
    add("--rotation", type=float, metavar="DEG", help="random rotation of patches, up to DEG")
    add("--scaling", type=float, metavar="S", help="random stretching of patches, by up to S")
    add("--jitter", type=float, metavar="S", help="strength of random intensity changes, 0 to 1")
    add("--amp", choices=get_args(Amp), help="mixed precision of training passes, never of scores")
    add("--keep", choices=get_args(Keep), help="evaluate the last checkpoint, or the best")
    add("--checkpoint-every", type=int, metavar="N", help="steps between checkpoints")
    add("--validate-every", type=int, metavar="N", help="steps between points of the Dice curve")
    add("--tensorboard", action=switch, help="write TensorBoard curves")
    add = options.add_argument_group("inference").add_argument
    add("--overlap", type=float, metavar="SHARE", help="overlap of windows in inference")
    add("--flip-average", action=switch, help="average predictions over the flips")
    add("--nsd-tolerance", type=float, metavar="MM", help="tolerance of the surface Dice, mm")
    return options


def configure(arguments: argparse.Namespace) -> tuple[Path, Config]:
    """The run folder and settings: the preset or those kept there, then the options given.

    Raises:
        UserError: If settings cannot be read or contradict each other.
    """
    given: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in vars(arguments).items()
        if name not in _NOT_SETTINGS and value is not None
    }
    if arguments.benchmark is not None:
        if "data" in given:
            raise problem("--benchmark", "given with --data", "one of the two", "drop one")
        given |= {"data": arguments.benchmark, "kind": "benchmark"}
    for name in ("data", "unlabelled", "teacher_from", "patients"):
        if name in given:
            given[name] = str(Path(given[name]).resolve())
    preset = arguments.preset
    _refuse_audit(arguments.out)
    fallback = preset or ("small" if "data" in given else "demo")
    out: Path = arguments.out or Path("runs") / fallback
    if preset is None and (out / CONFIG).is_file():
        logging.getLogger("examples.covid3d").info(
            "settings from %s; give --preset to start from a preset", out / CONFIG
        )
        config = kept_settings(out)
        known = config.data
    else:
        config, known = PRESETS[fallback], None
    config = dataclasses.replace(config, **given)
    if config.data != known:
        # Read where they are needed: the readers' imports take seconds.
        from examples.covid3d.scans.described import described_settings

        config = dataclasses.replace(config, **described_settings(config, given))
    if config.unlabelled is not None and config.data is None:
        raise problem("--unlabelled", "given without --data", "both", "add --data PATH, or drop it")
    for path in (config.data, config.unlabelled):
        if path is not None and out.resolve().is_relative_to(path):
            raise problem(
                "--out", f"{out} lies in the data, {path}", "a folder apart", "choose another --out"
            )
    if config.shares[0] == 0 and config.teacher_from is None and config.kind != "csv":
        raise problem(
            "--shares",
            "no scan for the teacher",
            "a share for it, or the teacher of another run",
            "run experiment 1 first, then give --teacher-from RUN",
        )
    if config.data is None and config.preset != "demo":
        raise problem(
            "--preset",
            f"{config.preset} needs scans",
            "--data PATH",
            "add --data PATH, or take --preset demo, which draws phantoms",
        )
    return out, config


def _refuse_audit(out: Path | None) -> None:
    if out is not None and (out / AUDIT).exists():
        raise problem(
            out, "the folder of an audit", "a folder for the run alone", "choose another --out"
        )


def device_of(name: str) -> torch.device:
    """The device of that name.

    Raises:
        UserError: If it cannot be used.
    """
    import torch

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
