"""Command ``audit``: which masks of a data set are wrong."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any

from examples.covid3d.audit import settings
from examples.covid3d.audit.pipeline import PAGE, TABLE, audit
from examples.covid3d.audit.trusted import FEWEST, check_names, check_number, read_names
from examples.covid3d.commands.options import device_of
from examples.covid3d.common.config import Config
from examples.covid3d.common.errors import problem
from examples.covid3d.scans.described import described_settings
from examples.covid3d.scans.readers.scan import Scan
from examples.covid3d.scans.sources import read_sources

# Options that are not settings, or whose names are not theirs.
_NOT_SETTINGS = {
    "command", "entry", "out", "device", "pictures", "redo", "trusted_scans", "seed", "steps",
}  # fmt: skip
_SHOWN = 10
_OUT = Path("runs") / "audit"


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
    for name in ("data", "patients"):
        if name in given:
            given[name] = str(Path(given[name]).resolve())
    if parsed.trusted is not None:
        check_number(parsed.trusted)
        given["trusted_scans"] = ()
    if parsed.trusted_scans is not None:
        given["trusted_scans"] = read_names(parsed.trusted_scans)
        given["trusted"] = 0
    return given


def configure(out: Path, parsed: argparse.Namespace) -> Config:
    """The settings: those kept in the folder or the defaults, then the options given.

    Raises:
        UserError: If they cannot be read, contradict each other, or name scans that are not there.
    """
    before = settings.kept(out)
    given = _given(parsed)
    config = dataclasses.replace(before or settings.DEFAULTS, **given)
    if config.data is None:
        raise problem("--data", "not given", "a data set with masks", "add --data PATH")
    if before is None or before.data != config.data:
        config = dataclasses.replace(config, **described_settings(config, given))
    if out.resolve().is_relative_to(str(config.data)):
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
    if before is not None and before.data == config.data:
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


def audit_command(parsed: argparse.Namespace) -> int:
    """Runs the command.

    Returns:
        Exit status: 0, whatever is found.
    """
    out: Path = parsed.out or _OUT
    parsed.out = out
    config, device = configure(out, parsed), device_of(parsed.device)
    verdict = audit(out, config, device, parsed.pictures, redo=parsed.redo)
    print(verdict.sentence())
    for one in verdict.doubtful[:_SHOWN]:
        print(f"  {one.scan}: {one.words} (quality {one.quality:.2f})")
    if len(verdict.doubtful) > _SHOWN:
        print(f"  and {len(verdict.doubtful) - _SHOWN} more")
    print(f"Page: {out / PAGE}\nTable: {out / TABLE}")
    return 0
