"""The units of work of each stage: their names, what they need, and what fills their folders."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from examples.covid3d.measure.evaluate import evaluate
from examples.covid3d.measure.report.build import build_report
from examples.covid3d.methods.rows import ROWS
from examples.covid3d.run.context import Context
from examples.covid3d.run.stages import label_unlabelled, train_student, train_teacher
from examples.covid3d.scans.prepare import prepare

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


UNITS_OF: dict[str, Callable[[Context], Iterator[Work]]] = {
    "prepare": _prepare,
    "teacher": _teacher,
    "pseudo-label": _pseudo_label,
    "student": _student,
    "evaluate": _evaluate,
    "report": _report,
}
"""By stage. The units of a stage are known when the stages before it are complete."""
