"""Runs stages in order, skipping what is complete."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import torch

from examples.covid3d.common.config import STAGES, Config
from examples.covid3d.common.errors import UserError, problem
from examples.covid3d.measure.evaluate import evaluate
from examples.covid3d.measure.report.build import build_report
from examples.covid3d.methods.rows import ROWS
from examples.covid3d.run.context import Context
from examples.covid3d.run.environment import environment
from examples.covid3d.run.lock import locked
from examples.covid3d.run.other_teacher import teachers_in
from examples.covid3d.run.overwriting import refuse_to_overwrite, trainings_after
from examples.covid3d.run.parallel import in_parallel
from examples.covid3d.run.run_folder import RunFolder
from examples.covid3d.run.settings_file import keeping
from examples.covid3d.run.stages import label_unlabelled, train_student, train_teacher
from examples.covid3d.scans.prepare import can_be_prepared_now, prepare
from examples.covid3d.scans.rejecting import read_failed
from examples.covid3d.scans.sources import read_sources

_log = logging.getLogger("examples.covid3d")

Unit = tuple[str, ...]
Needs = list[tuple[str, Unit]]
Work = tuple[Unit, Needs, Callable[[Path], None]]
"""Name of a unit, the units it needs, and what fills its folder."""


def _prepare_in(context: Context, folder: Path) -> None:
    prepare(context.config, folder, context.prepared)


def _prepare(context: Context) -> Iterator[Work]:
    yield (), [], partial(_prepare_in, context)


def _teacher(context: Context) -> Iterator[Work]:
    if context.config.teacher_from is not None:
        return
    for replicate in {one.teacher: one for one in context.replicates()}.values():
        yield (replicate.teacher,), [], partial(train_teacher, context, replicate)


def _teacher_needs(context: Context, name: str) -> Needs:
    return [] if context.config.teacher_from is not None else [("teacher", (name,))]


def _pseudo_label(context: Context) -> Iterator[Work]:
    replicates = context.replicates()
    for name in dict.fromkeys(one.teacher for one in replicates):
        sharing = [one for one in replicates if one.teacher == name]
        needs = _teacher_needs(context, name)
        yield (name,), needs, partial(label_unlabelled, context, sharing)


def _student(context: Context) -> Iterator[Work]:
    for one in context.replicates():
        for method in context.config.methods:
            if ROWS[method].recipe is None:
                continue
            needs = [*_teacher_needs(context, one.teacher), ("pseudo-label", (one.teacher,))]
            yield (one.name, method), needs, partial(train_student, context, one, method)


def _evaluate(context: Context) -> Iterator[Work]:
    for one in context.replicates():
        for method in context.config.methods:
            row = ROWS[method]
            if row.external:
                continue
            needs: Needs = [("student", (one.name, method))]
            if row.recipe is None:
                needs = _teacher_needs(context, one.teacher)
            yield (one.name, method), needs, partial(evaluate, context, one, method)


def _report(context: Context) -> Iterator[Work]:
    needs: Needs = [("evaluate", unit) for unit, _, _ in _evaluate(context)]
    for folder in sorted(context.run.path.glob("evaluate/*/*")):
        unit = (folder.parent.name, folder.name)
        external = folder.name in ROWS and ROWS[folder.name].external
        if external and (why := context.run.why_stale("evaluate", *unit)):
            _log.warning("report: left out, import it again: %s: %s", folder, "; ".join(why))
    yield (), needs, partial(build_report, context)


_STAGES: dict[str, Callable[[Context], Iterator[Work]]] = {
    "prepare": _prepare,
    "teacher": _teacher,
    "pseudo-label": _pseudo_label,
    "student": _student,
    "evaluate": _evaluate,
    "report": _report,
}


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
    done: list[Unit] = []
    with locked(out):
        if not redo and stages:
            _look_ahead(run, stages[0])
        with keeping(out, config, lambda: bool(done)):
            _run(context, stages, jobs, redo, done)
    return run


def _look_ahead(run: RunFolder, first: str) -> None:
    """Refuses at once what would begin trainings anew: before anything is replaced."""
    try:
        trainings = list(trainings_after(run, first))
    except UserError:
        # The scans that are there cannot be split as is wanted now; those to come may.
        return
    known = {"settings"}
    if run.is_complete("prepare"):
        known.add("scans")
        own = [unit for stage, unit in trainings_after(run, "teacher") if stage == "teacher"]
        if all(run.is_complete("teacher", *unit) for unit in own):
            known.add("teacher")
    refuse_to_overwrite(run, trainings, known=known)


def _run(context: Context, stages: Sequence[str], jobs: int, redo: bool, done: list[Unit]) -> None:
    run = context.run
    made = environment(context.device, jobs)
    for stage in stages:
        if stage != "prepare":
            run.require(stage, "prepare")
        todo: list[tuple[Unit, Callable[[Path], None]]] = []
        for unit, needs, work in _STAGES[stage](context):
            name = "/".join((stage, *unit))
            # A report is quickly made, and what it is of may have been added to.
            if stage != "report" and run.is_complete(stage, *unit):
                if stage != "prepare" or not _some_can_be_read_now(context):
                    _log.info("%s: complete already, skipped", name)
                    continue
            elif stage != "report" and (why := run.why_stale(stage, *unit)):
                _log.info("%s: again, because %s", name, "; ".join(why))
            for needed, other in needs:
                run.require(stage, needed, *other)
            todo.append((unit, work))
        if not redo:
            refuse_to_overwrite(run, [(stage, unit) for unit, _ in todo])
        if jobs == 1 or len(todo) < 2:
            for unit, work in todo:
                with run.working(stage, unit, made) as folder:
                    work(folder)
                    if stage == "prepare" and not redo:
                        trainings = trainings_after(run, "teacher", folder)
                        refuse_to_overwrite(run, trainings, folder)
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
    for unit, _, work in _STAGES[stage](Context(run, device)):
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
