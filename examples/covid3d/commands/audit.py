"""Command ``audit``: which masks of a data set are wrong."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path
from typing import Any

from examples.covid3d.audit import settings
from examples.covid3d.audit.pipeline import PAGE, TABLE, audit
from examples.covid3d.audit.trusted import FEWEST, check_names, check_number, read_names
from examples.covid3d.commands.options import annotated_scan_options, device_of
from examples.covid3d.common.config import Config
from examples.covid3d.common.errors import problem
from examples.covid3d.scans.readers.scan import Scan
from examples.covid3d.scans.sources import read_sources

HELP = "find the masks of a data set that look wrong"
_PICTURES = 50
# Options that are not settings, or whose names are not theirs.
_NOT_SETTINGS = {"command", "out", "device", "pictures", "trusted_scans", "seed", "steps"}


def _whole(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 0 or more")
    return int(text)


def _positive(text: str) -> int:
    if _whole(text) == 0:
        raise argparse.ArgumentTypeError("0 is less than 1")
    return int(text)


def add_parser(commands: Any) -> None:
    """Adds the command with its options."""
    parser = commands.add_parser(
        "audit",
        help=HELP,
        description="Trains once, judged by scans whose masks are trusted, and writes audit.html "
        "and audit.csv: every mask with its quality, the worst first. Run again after an "
        "interruption, it goes on where it was.",
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the audit")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, mps (default: cpu)")
    parser.add_argument("--seed", type=_whole, metavar="N", help="of all that chance decides")
    parser.add_argument(
        "--pictures",
        type=_whole,
        default=_PICTURES,
        metavar="N",
        help=f"of the N worst scans (default: {_PICTURES})",
    )
    trust = parser.add_mutually_exclusive_group()
    trust.add_argument("--trusted", type=_whole, metavar="N", help="trust N scans drawn by chance")
    trust.add_argument(
        "--trusted-scans", type=Path, metavar="FILE", help="trust those it names, one a line"
    )
    annotated_scan_options(parser.add_argument_group("data"))
    add = parser.add_argument_group("training").add_argument
    add(
        "--steps",
        type=_positive,
        metavar="N",
        help=f"of each training (default: {settings.DEFAULTS.student_steps})",
    )
    add("--channels", type=int, nargs="+", metavar="N", help="channels of each level")
    add("--patch", type=int, nargs=3, metavar=("X", "Y", "Z"), help="patch size, voxels")
    add("--batch-size", type=int, metavar="C", help="patches in a batch")
    add("--learning-rate", type=float, metavar="LR", help="initial learning rate of Adam")
    add("--flip-axes", type=int, nargs="*", metavar="A", help="axes of random flips, of 0 1 2")
    add("--checkpoint-every", type=int, metavar="N", help="steps between checkpoints")


def _given(parsed: argparse.Namespace) -> dict[str, Any]:
    """Settings that the command line names."""
    given: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in vars(parsed).items()
        if name not in _NOT_SETTINGS and value is not None
    }
    if parsed.seed is not None:
        given["seeds"] = (parsed.seed,)
    if parsed.steps is not None:
        given["student_steps"] = parsed.steps
    if "data" in given:
        given["data"] = str(Path(given["data"]).resolve())
    if parsed.trusted is not None:
        check_number(parsed.trusted)
        given["trusted_scans"] = ()
    if parsed.trusted_scans is not None:
        given["trusted_scans"] = read_names(parsed.trusted_scans)
        given["trusted"] = 0
    return given


def configure(parsed: argparse.Namespace) -> Config:
    """The settings: those kept in the folder or the defaults, then the options given.

    Raises:
        UserError: If they cannot be read, contradict each other, or name scans that are not there.
    """
    out: Path = parsed.out
    before = settings.kept(out)
    given = _given(parsed)
    config = dataclasses.replace(before or settings.DEFAULTS, **given)
    if config.data is None:
        raise problem("--data", "not given", "a data set with masks", "add --data PATH")
    if out.resolve().is_relative_to(config.data):
        raise problem(
            "--out", f"{out} lies in the data, {config.data}", "a folder apart", "choose another"
        )
    if not config.trusted and not config.trusted_scans:
        raise problem(
            "--trusted",
            "no scan is trusted",
            "--trusted N, or --trusted-scans FILE with the names of masks that you have checked",
            "add one of the two",
        )
    scans = _masked(config)
    check_names(config.trusted_scans, [scan.name for scan in scans])
    chosen = config.trusted or len(config.trusted_scans)
    if len(scans) - chosen < FEWEST:
        raise problem(
            "--trusted",
            f"{chosen} trusted of {len(scans)} scans with a mask",
            f"fewer, so that {FEWEST} or more are left to be judged",
            "trust fewer, or give more scans",
        )
    fitting = set(given)
    if before is not None:
        # What was chosen to fit the data once stays: another choice would train anew.
        fitting |= {"spacing", "patch"}
    return settings.fitted(config, scans, sorted(fitting))


def _masked(config: Config) -> list[Scan]:
    found, _ = read_sources(config)
    scans = [scan for _, scan in found if scan.mask is not None]
    if not scans:
        raise problem(
            config.data or "--data",
            f"{len(found)} scans, none with a mask",
            "masks to judge",
            "check the path and --kind; a folder of DICOM series has no masks",
        )
    return scans


def run_audit(parsed: argparse.Namespace) -> int:
    """Runs the command.

    Returns:
        Exit status: 0, whatever is found; 130 if it was interrupted.
    """
    out: Path = parsed.out
    try:
        verdict = audit(out, configure(parsed), device_of(parsed.device), parsed.pictures)
    except KeyboardInterrupt:
        again = f"python -m examples.covid3d audit --out {out}"
        if parsed.device != "cpu":
            again += f" --device {parsed.device}"
        print(f"\nInterrupted. To resume: {again}", file=sys.stderr)
        return 130
    print(verdict.sentence())
    for one in verdict.doubtful[:10]:
        print(f"  {one.scan}: {one.words} (quality {one.quality:.2f})")
    print(f"Page: {out / PAGE}\nTable: {out / TABLE}")
    return 0
