"""An audit, step by step; what is complete is skipped, what was interrupted is resumed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from examples.covid3d.audit import settings
from examples.covid3d.audit.belief import believed, plant
from examples.covid3d.audit.halves import Half, Remembered, both_halves, learn, remembered_in
from examples.covid3d.audit.inputs import HALVES, JUDGED, inputs_of
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
from examples.covid3d.run.environment import environment
from examples.covid3d.run.lock import locked
from examples.covid3d.run.overwriting import refuse_to_overwrite
from examples.covid3d.run.run_folder import RunFolder
from examples.covid3d.scans.manifest import REJECTED, Entry, read_manifest
from examples.covid3d.scans.prepare import prepare
from examples.covid3d.scans.splits import Replicate
from examples.covid3d.train.inference import load_network
from examples.covid3d.train.training import WEIGHTS

PAGE, TABLE = "audit.html", "audit.csv"


def audit(
    out: Path, config: Config, device: torch.device, pictures: int, *, redo: bool = False
) -> Verdict:
    """Prepares, trains, judges, and writes ``audit.html`` and ``audit.csv``.

    Args:
        out: The audit's folder.
        config: Settings.
        device: Where to compute.
        pictures: How many of the worst scans get one.
        redo: Train again what was trained with other settings, scans or masks.

    Returns:
        What was found.

    Raises:
        UserError: If an input is unusable, or something finished would be trained again.
    """
    run = RunFolder(out, config, inputs_of)
    context, made = Context(run, device), environment(device)
    with locked(out):
        if settings.kept(out) is None:
            settings.keep(out, config)
        if not run.is_complete("prepare"):
            with run.working("prepare", (), made) as folder:
                prepare(config, folder, context.prepared)
                divide(read_manifest(folder), config)
                _refuse_to_overwrite(run, folder, redo)
        entries = read_manifest(context.prepared)
        replicate = divide(entries, config)
        _refuse_to_overwrite(run, context.prepared, redo)
        # Settings that cannot be used must not replace those of an earlier audit.
        settings.keep(out, config)
        halves = both_halves(context, replicate, entries)
        for half in halves:
            if not run.is_complete("student", half.name):
                with run.working("student", (half.name,), made) as folder:
                    learn(half, folder)
        if not run.is_complete("evaluate", *JUDGED):
            with run.working("evaluate", JUDGED, made) as folder:
                for half, other in zip(halves, reversed(halves), strict=True):
                    observe(half, load_network(_trained(run, other) / WEIGHTS, device), folder)
                _judge(context, replicate, entries, folder)
        folder = run.folder("evaluate", *JUDGED)
        verdict = _verdict(replicate, folder)
        write_table(out / TABLE, verdict)
        drawn = draw_scans(context.prepared, folder, verdict, pictures)
        page = build_page(verdict, *drawn, _surroundings(context, replicate, entries))
        write_text(out / PAGE, page)
    return verdict


def _refuse_to_overwrite(run: RunFolder, prepared: Path, redo: bool) -> None:
    if not redo:
        refuse_to_overwrite(run, [("student", (half,)) for half in HALVES], prepared)


def _trained(run: RunFolder, half: Half) -> Path:
    return run.folder("student", half.name)


def _judge(context: Context, replicate: Replicate, entries: Sequence[Entry], folder: Path) -> None:
    by_name = {entry.name: entry for entry in entries}
    remembered: dict[str, Remembered] = {}
    for half in both_halves(context, replicate, entries):
        remembered |= remembered_in(_trained(context.run, half))
    drawings = {
        role: Drawings(context, folder, [by_name[name] for name in names], remembered)
        for role, names in replicate.roles.items()
    }
    judge(replicate.roles["unlabelled"], drawings["unlabelled"], drawings["trusted"], folder)
    judge_trusted(replicate.roles["trusted"], drawings["trusted"], folder)
    plant(drawings["trusted"], folder)


def _verdict(replicate: Replicate, folder: Path) -> Verdict:
    judged, trusted = (
        worst_first(assessments_of(folder, replicate.roles[role]))
        for role in ("unlabelled", "trusted")
    )
    return believed(Verdict(judged, trusted), folder)


def _surroundings(context: Context, replicate: Replicate, entries: Sequence[Entry]) -> Surroundings:
    config, run = context.config, context.run
    left_out = context.prepared / REJECTED
    rejected = [(Path(row["where"]).name, row["reason"]) for row in read_csv(left_out)]
    halves = both_halves(context, replicate, entries)
    seconds = sum(run.seconds("student", half.name) for half in halves)
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
