"""The command line."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from benchmarks.command import positive
from benchmarks.errors import UserError
from benchmarks.sets.setting import DataSet
from benchmarks.sets.sources import SOURCES
from benchmarks.trials.plans import Plan, TaskPlan
from benchmarks.trials.rows import ROWS


@dataclass(frozen=True)
class Work:
    """Runs to make: where the data are, which runs, how many processes, what is not there."""

    folders: dict[str, Path]
    plan: Plan
    jobs: int
    missing: tuple[str, ...]


@dataclass(frozen=True)
class Command:
    """An output folder, and the work to do before the report; ``None`` for the report alone."""

    output: Path
    work: Work | None


def parse(words: Sequence[str], module: str, what: str, presets: Mapping[str, Plan]) -> Command:
    """Read the command line and look at the data.

    Args:
        words: The options.
        module: The command's name.
        what: What it does, for ``--help``.
        presets: The plans to choose from; the first is the default.

    Raises:
        SystemExit: With status 2, if an option is wrong.
        UserError: If the data are, or do not fit the options.
    """
    every = [task for plan in presets.values() for task in plan]
    parser = _parser(module, what, presets)
    given = parser.parse_args(words)
    if given.report_only:
        return Command(given.output, None)
    sources = list(dict.fromkeys(task.setting.source for task in every))
    if given.data is None and all(getattr(given, source) is None for source in sources):
        parser.error("--data is required (but for --report-only): the folder of the data sets")
    plan = presets[given.preset]
    if given.tasks:
        named = {task.name: task for task in (*every, *plan)}
        plan = tuple(named[name] for name in dict.fromkeys(given.tasks))
    folders = _folders(given, sources)
    missing = tuple(
        f"{task.name}: {SOURCES[task.setting.source].what} is not there"
        for task in plan
        if task.setting.source not in folders
    )
    there = [_as_told(task, given) for task in plan if task.setting.source in folders]
    if not there:
        raise UserError(f"no data for any task: {'; '.join(missing)}. Give --data or a set's own.")
    used = {task.setting.source for task in there}
    read = {name: SOURCES[name].read(folders[name]) for name in folders if name in used}
    checked = tuple(_with_data(task, read[task.setting.source]) for task in there)
    used_folders = {name: folder for name, folder in folders.items() if name in read}
    return Command(given.output, Work(used_folders, checked, given.jobs, missing))


def _folders(given: argparse.Namespace, sources: Sequence[str]) -> dict[str, Path]:
    found = {}
    for source in sources:
        own: Path | None = getattr(given, source)
        folder = own or given.data
        if folder is not None and not folder.is_dir():
            option = f"--{source}" if own else "--data"
            raise UserError(f"{option} {folder} is not a folder; give the one that holds the data.")
        place = None if folder is None else SOURCES[source].find(folder)
        if place is None and own is not None:
            raise UserError(
                f"--{source} {own} has no {SOURCES[source].sign}*, by which it is known."
            )
        if place is not None:
            found[source] = place
    return found


def _as_told(task: TaskPlan, given: argparse.Namespace) -> TaskPlan:
    """Return the task with what the command line says otherwise."""
    setting = replace(task.setting, torch=torch.__version__)
    for name in ("epochs", "batch", "pool", "validation"):
        if getattr(given, name) is not None:
            setting = replace(setting, **{name: getattr(given, name)})
    rows = [row for row in dict.fromkeys(given.rows) if row] if given.rows else task.rows
    return replace(
        task,
        setting=setting,
        rows=tuple(rows),
        trusted=tuple(dict.fromkeys(given.trusted or task.trusted)),
        rates=tuple(dict.fromkeys(given.rates or task.rates)),
        seeds=given.seeds or task.seeds,
        first=task.first if given.first_seed is None else given.first_seed,
    )


def _with_data(task: TaskPlan, data: DataSet) -> TaskPlan:
    """Return the task with the digest of its data, and without rows that they do not allow.

    Raises:
        UserError: If the data are too few for it.
    """
    task = replace(task, setting=replace(task.setting, data=data.digest))
    problems = [data.problem(task.setting, size, task.first) for size in task.trusted]
    rows = tuple(row for row in task.rows if ROWS[row].fits(problems[0]))
    if not rows:
        raise UserError(f"{task.name} allows none of the --rows {' '.join(task.rows)}.")
    return replace(task, rows=rows)


def _parser(module: str, what: str, presets: Mapping[str, Plan]) -> argparse.ArgumentParser:
    tasks = list(dict.fromkeys(task.name for plan in presets.values() for task in plan))
    parser = argparse.ArgumentParser(
        prog=f"python -m {module}",
        description=f"{what} The same command again goes on with the runs that are missing.",
    )
    parser.add_argument("--data", type=Path, help="folder of the data sets, or of one of them")
    for source in dict.fromkeys(t.setting.source for plan in presets.values() for t in plan):
        parser.add_argument(f"--{source}", type=Path, help=f"folder of {SOURCES[source].what}")
    parser.add_argument("--output", type=Path, required=True, help="folder for results")
    first = next(iter(presets))
    parser.add_argument("--preset", choices=list(presets), default=first, help=f"({first})")
    parser.add_argument(
        "--jobs", type=positive, default=os.cpu_count() or 1, help="processes (one per CPU)"
    )
    parser.add_argument("--tasks", nargs="+", choices=tasks, metavar="T", help=", ".join(tasks))
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), metavar="R", help=", ".join(ROWS))
    parser.add_argument(
        "--trusted", nargs="+", type=positive, metavar="N", help="sizes of trusted sets"
    )
    parser.add_argument("--seeds", type=positive, help="how many seeds")
    parser.add_argument("--first-seed", type=_seed, help="the first of them (10)")
    parser.add_argument(
        "--rates", nargs="+", type=_rate, metavar="LR", help="learning rates to choose from"
    )
    parser.add_argument("--epochs", type=positive, help="rounds of the pool")
    parser.add_argument("--pool", type=positive, help="samples to train on")
    parser.add_argument("--validation", type=positive, help="validation samples")
    parser.add_argument("--batch", type=positive, help="samples per batch")
    parser.add_argument(
        "--report-only", action="store_true", help="write the report on the results there are"
    )
    return parser


def _seed(text: str) -> int:
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 0")
    return int(text)


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not 0 < rate < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a finite number above 0")
    return rate
