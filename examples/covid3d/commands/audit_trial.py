"""``audit-trial``: the audit on expert masks of which many were made faulty."""

from __future__ import annotations

import argparse
from pathlib import Path

from examples.covid3d.audit.trial.run import run_trial
from examples.covid3d.audit.trial.settings import ROWS, Settings
from examples.covid3d.common.errors import problem

HELP = "test the audit on Task04 Hippocampus: expert masks, of which many are made faulty"


def add_options(command: argparse.ArgumentParser) -> None:
    """Gives the command its options."""
    default = Settings()
    add = command.add_argument
    add("--data", required=True, metavar="DIR", help="Task04_Hippocampus, in nnU-Net's layout")
    add("--out", type=Path, default=Path("runs") / "hippocampus-audit", help="folder of the trial")
    add("--jobs", type=int, default=1, metavar="N", help="trainings at the same time")
    add("--seeds", default="0,1,2", metavar="A,B", help="seeds (default: 0,1,2)")
    add("--trusted", default="8,24", metavar="A,B", help="numbers of trusted scans (default: 8,24)")
    add("--rows", default=",".join(ROWS), metavar="A,B", help="which rows (default: all)")
    add("--steps", type=int, default=default.steps, help="steps of a row")
    add("--audit-steps", type=int, default=default.audit_steps, help="of each student it asks")
    add("--validation", action="store_true", help="test on others than the tested patients")


def run(parsed: argparse.Namespace) -> Path:
    """Runs the command.

    Returns:
        The file of the tables.

    Raises:
        UserError: If an option has no such value, or as in
            :func:`~examples.covid3d.audit.trial.run.run_trial`.
    """
    rows = tuple(name.strip() for name in parsed.rows.split(",") if name.strip())
    unknown = sorted(set(rows) - set(ROWS))
    if unknown or not rows:
        raise problem("--rows", ", ".join(unknown) or "none", ", ".join(ROWS), "choose from those")
    settings = Settings(
        seeds=_numbers("--seeds", parsed.seeds, 0),
        trusted=_numbers("--trusted", parsed.trusted, 4),
        rows=rows,
        steps=_at_least_one("--steps", parsed.steps),
        audit_steps=_at_least_one("--audit-steps", parsed.audit_steps),
        validation=parsed.validation,
    )
    jobs = _at_least_one("--jobs", parsed.jobs)
    return run_trial(parsed.data, settings, parsed.out, jobs)


def _numbers(option: str, text: str, least: int) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and int(part) >= least for part in parts):
        raise problem(
            option, repr(text), f"whole numbers of at least {least}, as in 8,24", "mend the list"
        )
    return tuple(dict.fromkeys(int(part) for part in parts))


def _at_least_one(option: str, value: int) -> int:
    if value < 1:
        raise problem(option, str(value), "1 or more", "choose another number")
    return value
