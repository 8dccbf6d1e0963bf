"""An audit, step by step; what is complete is skipped, what was interrupted is resumed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from examples.covid3d.audit import settings
from examples.covid3d.audit.halves import halves_of, learn, lesson_of, losses_of
from examples.covid3d.audit.judging import assessments_of, judge, judge_trusted
from examples.covid3d.audit.observing import Drawings, observe
from examples.covid3d.audit.page import Surroundings, build_page
from examples.covid3d.audit.pictures import draw_scans
from examples.covid3d.audit.table import write_table
from examples.covid3d.audit.trusted import divide
from examples.covid3d.audit.verdict import Verdict, worst_first
from examples.covid3d.common.config import Config
from examples.covid3d.common.files import read_csv, write_text
from examples.covid3d.run.context import Context
from examples.covid3d.run.lock import locked
from examples.covid3d.run.run_folder import RunFolder
from examples.covid3d.scans.manifest import REJECTED, Entry, read_manifest
from examples.covid3d.scans.prepare import prepare
from examples.covid3d.scans.splits import Replicate
from examples.covid3d.train.inference import load_network
from examples.covid3d.train.training import WEIGHTS

PAGE, TABLE = "audit.html", "audit.csv"
_JUDGED = ("audit",)


def audit(out: Path, config: Config, device: torch.device, pictures: int) -> Verdict:
    """Prepares, trains, judges, and writes ``audit.html`` and ``audit.csv``.

    Args:
        out: The audit's folder.
        config: Settings.
        device: Where to compute.
        pictures: How many of the worst scans get one.

    Returns:
        What was found.

    Raises:
        UserError: If an input is unusable.
    """
    context = Context(RunFolder(out, config), device)
    run = context.run
    with locked(out):
        settings.keep(out, config)
        if not run.is_complete("prepare"):
            with run.working("prepare") as folder:
                prepare(config, folder, context.prepared)
        entries = read_manifest(context.prepared)
        replicate = divide(entries, config)
        for half in halves_of(replicate):
            if not run.is_complete("student", half.teacher):
                with run.working("student", (half.teacher,)) as folder:
                    learn(context, half, folder)
        if not run.is_complete("evaluate", *_JUDGED):
            with run.working("evaluate", _JUDGED) as folder:
                _draw(context, replicate, folder)
                _judge(context, replicate, entries, folder)
        folder = run.folder("evaluate", *_JUDGED)
        verdict = _verdict(replicate, folder)
        write_table(out / TABLE, verdict)
        drawn = draw_scans(context.prepared, folder, verdict, pictures)
        page = build_page(verdict, *drawn, _surroundings(context, replicate, entries))
        write_text(out / PAGE, page)
    return verdict


def _draw(context: Context, replicate: Replicate, folder: Path) -> None:
    """Each scan by the network that did not learn from it."""
    names = {*replicate.roles["trusted"], *replicate.roles["unlabelled"]}
    for half in halves_of(replicate):
        weights = context.run.folder("student", half.teacher) / WEIGHTS
        seen = {*half.roles["trusted"], *half.roles["unlabelled"]}
        lesson = lesson_of(context, half, folder)
        observe(lesson, load_network(weights, context.device), sorted(names - seen), folder)


def _judge(context: Context, replicate: Replicate, entries: Sequence[Entry], folder: Path) -> None:
    by_name = {entry.name: entry for entry in entries}
    losses: dict[str, float] = {}
    for half in halves_of(replicate):
        losses |= losses_of(context.run.folder("student", half.teacher))
    drawings = {
        role: Drawings(context, folder, [by_name[name] for name in names], losses)
        for role, names in replicate.roles.items()
    }
    judge(replicate.roles["unlabelled"], drawings["unlabelled"], drawings["trusted"], folder)
    judge_trusted(replicate.roles["trusted"], drawings["trusted"], folder)


def _verdict(replicate: Replicate, folder: Path) -> Verdict:
    judged, trusted = (
        worst_first(assessments_of(folder, replicate.roles[role]))
        for role in ("unlabelled", "trusted")
    )
    return Verdict(judged, trusted)


def _surroundings(context: Context, replicate: Replicate, entries: Sequence[Entry]) -> Surroundings:
    config, run = context.config, context.run
    left_out = context.prepared / REJECTED
    rejected = [(Path(row["where"]).name, row["reason"]) for row in read_csv(left_out)]
    seconds = sum(run.seconds("student", half.teacher) for half in halves_of(replicate))
    facts = {
        "scans judged": str(len(replicate.roles["unlabelled"])),
        "trusted": str(len(replicate.roles["trusted"])),
        "training steps": f"2 x {config.student_steps}",
        "training, s": f"{seconds:.0f}",
        "seed": str(config.seeds[0]),
        "spacing, mm": " ".join(f"{mm:g}" for mm in config.spacing),
        "intensity": config.intensity,
        "foreground labels": " ".join(map(str, config.foreground_labels)),
        "patch, voxels": " ".join(map(str, config.patch)),
        "device": str(context.device),
        "torch": torch.__version__,
    }
    return Surroundings(
        data=Path(config.data or "").name,
        drawn=not config.trusted_scans,
        rejected=rejected,
        without_mask=sum(not entry.has_mask for entry in entries),
        facts=facts,
    )
