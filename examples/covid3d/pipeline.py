"""Runs stages in order, skipping what is complete."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch

from examples.covid3d.config import STAGES, Config, to_json
from examples.covid3d.evaluate import evaluate
from examples.covid3d.files import write_json
from examples.covid3d.prepare import prepare
from examples.covid3d.report.build import build_report
from examples.covid3d.run_folder import RunFolder
from examples.covid3d.sources import find_sources
from examples.covid3d.stages import Context, label_unlabelled, train_students, train_teacher

CONFIG = "config.json"
_log = logging.getLogger("examples.covid3d")


def _prepare(context: Context, folder: Path) -> None:
    prepare(context.config, folder)


_STAGES: Mapping[str, Callable[[Context, Path], None]] = {
    "prepare": _prepare,
    "teacher": train_teacher,
    "pseudo-label": label_unlabelled,
    "student": train_students,
    "evaluate": evaluate,
    "report": build_report,
}


def run_stages(
    out: Path, config: Config, stages: Sequence[str] = STAGES, device: torch.device | None = None
) -> RunFolder:
    """Runs stages in a run folder; complete ones are skipped, an interrupted one is resumed.

    Args:
        out: Run folder, created if need be. The settings are kept in its ``config.json``.
        config: Settings.
        stages: Which stages, in order.
        device: Where to compute; the CPU by default.

    Returns:
        The run folder.

    Raises:
        UserError: If an earlier stage is missing or an input is unusable.
    """
    run = RunFolder(out, config)
    context = Context(run, device or torch.device("cpu"))
    # Settings that cannot be used must not replace those of an earlier run.
    find_sources(config)
    write_json(out / CONFIG, to_json(config))
    for stage in stages:
        run.require_before(stage)
        if run.is_complete(stage):
            _log.info("%s: complete already, skipped", stage)
            continue
        with run.working(stage) as folder:
            _STAGES[stage](context, folder)
        _log.info("%s: done in %.0f s", stage, run.seconds(stage))
    return run
