"""An audit, step by step; what is complete is skipped, what was interrupted is resumed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from examples.covid3d.audit import settings
from examples.covid3d.audit.agreement import judge
from examples.covid3d.audit.judgement import Verdict
from examples.covid3d.audit.learning import learn, lesson_of, memory_of
from examples.covid3d.audit.observing import numbers_of, observe, probability_of
from examples.covid3d.audit.page import Surroundings, build_page
from examples.covid3d.audit.slices import Picture, draw
from examples.covid3d.audit.table import write_table
from examples.covid3d.audit.trusted import divide
from examples.covid3d.common.config import Config
from examples.covid3d.common.files import read_csv, write_text
from examples.covid3d.run.context import Context
from examples.covid3d.run.lock import locked
from examples.covid3d.run.run_folder import RunFolder
from examples.covid3d.scans.manifest import REJECTED, Entry, read_manifest
from examples.covid3d.scans.prepare import prepare
from examples.covid3d.scans.splits import Replicate
from examples.covid3d.scans.store import stored_with_mask
from examples.covid3d.train.inference import load_network
from examples.covid3d.train.training import WEIGHTS

PAGE, TABLE = "audit.html", "audit.csv"
UNIT = ("audit",)
_MOST_TRUSTED = 24
_THUMBNAILS = 6


def audit(out: Path, config: Config, device: torch.device, pictures: int) -> Verdict:
    """Prepares, trains once, judges, and writes ``audit.html`` and ``audit.csv``.

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
        if not run.is_complete("student", *UNIT):
            with run.working("student", UNIT) as folder:
                learn(context, replicate, folder)
        trained = run.folder("student", *UNIT)
        if not run.is_complete("evaluate", *UNIT):
            with run.working("evaluate", UNIT) as folder:
                network = load_network(trained / WEIGHTS, device)
                lesson = lesson_of(context, replicate, folder)
                observe(lesson, network, memory_of(trained), folder)
        observed = run.folder("evaluate", *UNIT)
        roles = replicate.roles
        names = (*roles["trusted"], *roles["unlabelled"])
        verdict = judge({name: numbers_of(observed, name) for name in names}, roles["trusted"])
        write_table(out / TABLE, verdict)
        page = _page(context, replicate, entries, verdict, pictures)
        write_text(out / PAGE, page)
    return verdict


def _page(
    context: Context,
    replicate: Replicate,
    entries: Sequence[Entry],
    verdict: Verdict,
    pictures: int,
) -> str:
    worst = [one.scan for one in verdict.judged[:pictures]]
    trusted = [one.scan for one in verdict.trusted[:_MOST_TRUSTED]] if pictures else []
    small = set([one.scan for one in verdict.doubtful if one.scan in worst][:_THUMBNAILS])
    drawn: dict[str, Picture] = {}
    thumbnails: dict[str, Picture] = {}
    for name in tqdm([*worst, *trusted], desc="pictures", unit="scan"):
        picture = _drawing(context, name)
        drawn[name] = picture()
        if name in small or (not small and name in worst[:1]):
            thumbnails[name] = picture(count=1)
    return build_page(verdict, drawn, thumbnails, _surroundings(context, replicate, entries))


def _drawing(context: Context, name: str) -> Callable[..., Picture]:
    scan = stored_with_mask(context.prepared, name)
    probability = probability_of(context.run.folder("evaluate", *UNIT), scan)
    given = np.asarray(scan.mask) == 1
    image = np.asarray(scan.image)
    return partial(draw, name, image, given, probability > 0.5, scan.grid.spacing)


def _surroundings(context: Context, replicate: Replicate, entries: Sequence[Entry]) -> Surroundings:
    config, run = context.config, context.run
    left_out = context.prepared / REJECTED
    rejected = [(Path(row["where"]).name, row["reason"]) for row in read_csv(left_out)]
    facts = {
        "scans judged": str(len(replicate.roles["unlabelled"])),
        "trusted": str(len(replicate.roles["trusted"])),
        "training steps": str(config.student_steps),
        "training, s": f"{run.seconds('student', *UNIT):.0f}",
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
