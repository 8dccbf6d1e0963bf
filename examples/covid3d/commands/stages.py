"""Commands ``run`` and those of the single stages."""

from __future__ import annotations

import argparse
import os

from examples.covid3d.commands.options import configure, device_of
from examples.covid3d.common.config import STAGES, Config
from examples.covid3d.run.pipeline import run_stages

DEMO_JOBS = 2


def _usual_jobs(config: Config) -> int:
    """One, but for the demo: its trainings are small, and two cores do two in the time of one."""
    return min(DEMO_JOBS, os.cpu_count() or 1) if config.preset == "demo" else 1


def run_command(parsed: argparse.Namespace) -> None:
    """Runs a stage, or all of them."""
    out, config = configure(parsed)
    parsed.out = out
    if parsed.jobs is None:
        parsed.jobs = _usual_jobs(config)
    stages = STAGES if parsed.command == "run" else (parsed.command,)
    device = device_of(parsed.device)
    run = run_stages(out, config, stages, device, jobs=parsed.jobs, redo=parsed.redo)
    if stages[-1] == "report":
        print((run.folder("report") / "verdict.txt").read_text(encoding="utf-8"))
        print(f"Report: {run.folder('report') / 'report.html'}")
