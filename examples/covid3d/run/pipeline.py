"""Runs stages in order, skipping what is complete."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch

from examples.covid3d.common.config import STAGES, Config
from examples.covid3d.common.errors import UserError, problem
from examples.covid3d.methods.rows import ROWS
from examples.covid3d.run.context import Context
from examples.covid3d.run.environment import environment
from examples.covid3d.run.keeping import keeping
from examples.covid3d.run.lock import locked
from examples.covid3d.run.other_teacher import teachers_in
from examples.covid3d.run.overwriting import refuse_to_overwrite, trainings_after
from examples.covid3d.run.parallel import in_parallel
from examples.covid3d.run.run_folder import RunFolder
from examples.covid3d.run.units import UNITS_OF, Unit
from examples.covid3d.scans.prepare import can_be_prepared_now
from examples.covid3d.scans.rejecting import read_failed
from examples.covid3d.scans.sources import read_sources

_log = logging.getLogger("examples.covid3d")


def run_stages(
    out: Path,
    config: Config,
    stages: Sequence[str] = STAGES,
    device: torch.device | None = None,
    *,
    jobs: int = 1,
    redo: bool = False,
) -> RunFolder:
    """Runs stages in a run folder; complete units are skipped, an interrupted one is resumed.

    Args:
        out: Run folder, created if need be. The settings are kept in its ``config.json``; a command
            that fails before anything was done leaves those that were there.
        config: Settings.
        stages: Which stages, in order.
        device: Where to compute; the CPU by default.
        jobs: Units of a stage that are worked on at the same time, each in a process of its own.
        redo: Train again what was trained with other settings or scans.

    Returns:
        The run folder.

    Raises:
        UserError: If an earlier stage is missing, an input is unusable, or a finished training
            would have to be replaced and ``redo`` is not set.
    """
    run = RunFolder(out, config)
    context = Context(run, device or torch.device("cpu"))
    # Settings that cannot be used must not replace those of an earlier run. Data that was prepared
    # has been read already: the headers of a hospital's DICOM files take minutes.
    if not run.is_complete("prepare"):
        read_sources(config)
    if config.teacher_from is not None:
        teachers_in(Path(config.teacher_from))
    unknown = sorted(set(config.methods) - set(ROWS))
    if unknown or not config.methods:
        raise problem(
            "--methods", f"{', '.join(unknown) or 'none'}", ", ".join(ROWS), "choose from those"
        )
    if stages and stages[0] != "prepare" and not run.folder("prepare").is_dir():
        # Before anything is written: a mistyped --out leaves no folder behind.
        run.require(stages[0], "prepare")
    done: list[Unit] = []
    with locked(out):
        if not redo and stages:
            _look_ahead(run, stages[0])
        with keeping(out, config, lambda: bool(done)):
            _run(context, stages, jobs, redo, done)
    return run


def _trainings(run: RunFolder, first: str, prepared: Path | None = None) -> list[tuple[str, Unit]]:
    """As far as can be told: scans that cannot be split as is wanted refuse their own stage."""
    try:
        return list(trainings_after(run, first, prepared))
    except UserError:
        return []


def _look_ahead(run: RunFolder, first: str) -> None:
    """Refuses at once what would begin trainings anew: before anything is replaced."""
    known = {"settings"}
    if run.is_complete("prepare"):
        known.add("scans")
        own = [unit for stage, unit in _trainings(run, "teacher") if stage == "teacher"]
        if all(run.is_complete("teacher", *unit) for unit in own):
            known.add("teacher")
    refuse_to_overwrite(run, _trainings(run, first), known=known)


def _run(context: Context, stages: Sequence[str], jobs: int, redo: bool, done: list[Unit]) -> None:
    run = context.run
    made = environment(context.device, jobs)
    for stage in stages:
        if stage != "prepare":
            run.require(stage, "prepare")
        todo: list[tuple[Unit, Callable[[Path], None]]] = []
        again: list[str] = []
        for unit, needs, work in UNITS_OF[stage](context):
            name = "/".join((stage, *unit))
            # A report is quickly made, and what it is of may have been added to.
            if stage != "report" and run.is_complete(stage, *unit):
                if stage != "prepare" or not _some_can_be_read_now(context):
                    _log.info("%s: complete already, skipped", name)
                    continue
            elif stage != "report" and (why := run.why_stale(stage, *unit)):
                again.append(f"{name}: again, because {'; '.join(why)}")
            for needed, other in needs:
                run.require(stage, needed, *other)
            todo.append((unit, work))
        if todo and not redo:
            refuse_to_overwrite(run, [(stage, unit) for unit, _ in todo])
            if stage == "pseudo-label":
                # New labels would take the place of those that the students learnt from.
                known = {"settings", "scans", "teacher"}
                refuse_to_overwrite(run, _trainings(run, "student"), known=known)
        for text in again:
            _log.info(text)
        if jobs == 1 or len(todo) < 2:
            for unit, work in todo:
                with run.working(stage, unit, made) as folder:
                    work(folder)
                    if stage == "prepare" and not redo:
                        refuse_to_overwrite(run, _trainings(run, "teacher", folder), folder)
                _say_done(run, stage, done, unit)
        else:
            units = [unit for unit, _ in todo]
            tasks = [(run.path, run.config, context.device, stage, unit, jobs) for unit in units]
            say = partial(_say_done_number, run, stage, done, units)
            in_parallel(_fill, tasks, jobs, stage, say)


def _some_can_be_read_now(context: Context) -> bool:
    """Tries the scans again that were rejected."""
    failed = read_failed(context.prepared)
    now = [
        scan.name
        for _, scan in failed
        if can_be_prepared_now(scan, context.config, context.prepared)
    ]
    if now:
        _log.info("prepare: again, because what was rejected can be read now: %s", ", ".join(now))
    elif failed:
        _log.info("prepare: %d rejected scans tried again, none is usable now", len(failed))
    return bool(now)


def _fill(
    out: Path, config: Config, device: torch.device, stage: str, wanted: Unit, jobs: int
) -> None:
    """Does one unit's work in a process of its own, where nothing but its name has come along."""
    run = RunFolder(out, config)
    for unit, _, work in UNITS_OF[stage](Context(run, device)):
        if unit == wanted:
            with run.working(stage, unit, environment(device, jobs)) as folder:
                work(folder)


def _say_done(run: RunFolder, stage: str, done: list[Unit], unit: Unit) -> None:
    done.append((stage, *unit))
    _log.info("%s: done in %.0f s", "/".join((stage, *unit)), run.seconds(stage, *unit))


def _say_done_number(
    run: RunFolder, stage: str, done: list[Unit], units: Sequence[Unit], number: int
) -> None:
    _say_done(run, stage, done, units[number])
