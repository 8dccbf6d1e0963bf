"""``audit-trial``: the audit on expert masks of which many were made faulty."""

from __future__ import annotations

import argparse
from pathlib import Path

from examples.covid3d.audit.trial.run import run_trial
from examples.covid3d.audit.trial.settings import ROWS, Settings
from examples.covid3d.commands.options import device_of
from examples.covid3d.common.errors import problem

_OUT = Path("runs") / "hippocampus-audit"


def audit_trial_command(parsed: argparse.Namespace) -> None:
    """Runs the command and says where the tables are.

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
    parsed.out = parsed.out or _OUT
    device = device_of(parsed.device)
    jobs = _at_least_one("--jobs", parsed.jobs)
    print(f"Tables: {run_trial(str(parsed.data), settings, parsed.out, device, jobs)}")


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
