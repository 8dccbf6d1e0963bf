"""The command line."""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import torch

from benchmarks.command import positive
from benchmarks.errors import UserError
from benchmarks.label_noise.dataset import Dataset, read_dataset
from benchmarks.label_noise.methods import METHODS
from benchmarks.label_noise.noise import NOISES, Confusions
from benchmarks.label_noise.problem import make_problem
from benchmarks.label_noise.settings import EPOCHS, PLANS, Plan, Settings


@dataclass(frozen=True)
class Work:
    """Runs to make: where the data are, what the runs share, which, in how many processes."""

    data: Path
    settings: Settings
    plan: Plan
    jobs: int


@dataclass(frozen=True)
class Command:
    """An output folder, and the work to do before the report; ``None`` for the report alone."""

    output: Path
    work: Work | None


def parse(words: list[str]) -> Command:
    """Read the command line and look at the data.

    Raises:
        SystemExit: With status 2, if an option is wrong.
        UserError: If the data are, or do not fit the options.
    """
    parser = _parser()
    given = parser.parse_args(words)
    if given.report_only:
        return Command(given.output, None)
    if given.data is None:
        parser.error("--data is required (but for --report-only): the folder of the IDX files")
    preset = PLANS[given.preset]
    plan = Plan(
        noises=tuple(dict.fromkeys(given.noises or preset.noises)),
        methods=tuple(dict.fromkeys(given.methods or preset.methods)),
        trusted=tuple(dict.fromkeys(given.trusted or preset.trusted)),
        rates=tuple(dict.fromkeys(given.rates or preset.rates)),
        seeds=given.seeds or preset.seeds,
    )
    data = read_dataset(given.data)
    settings = Settings(
        pool=given.pool,
        validation=given.validation,
        batch=given.batch,
        epochs=given.epochs or EPOCHS[given.preset],
        momentum=0.9,
        teacher_rate=given.teacher_rate,
        confusions=given.confusions or ("fashion" if data.classes == 10 else "next"),
        data=data.digest,
        torch=torch.__version__,
    )
    _check_fit(data, settings, plan)
    return Command(given.output, Work(given.data, settings, plan, given.jobs))


def _check_fit(data: Dataset, settings: Settings, plan: Plan) -> None:
    if settings.batch > settings.pool:
        raise UserError(f"--batch {settings.batch} is more than --pool {settings.pool}.")
    for noise in plan.noises:
        make_problem(data, settings, noise, max(plan.trusted), 0)
    for size in plan.trusted:
        make_problem(data, settings, plan.noises[0], size, 0)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.label_noise",
        description="Train every method under kinds of label noise, and report on it. The same "
        "command again goes on with the runs that are missing.",
    )
    parser.add_argument("--data", type=Path, help="folder of four IDX files, such as Fashion-MNIST")
    parser.add_argument("--output", type=Path, required=True, help="folder for results")
    parser.add_argument("--preset", choices=list(PLANS), default="full", help="(full)")
    parser.add_argument(
        "--jobs", type=positive, default=os.cpu_count() or 1, help="processes (one per CPU)"
    )
    parser.add_argument("--noises", nargs="+", choices=NOISES, metavar="N", help=", ".join(NOISES))
    parser.add_argument(
        "--methods", nargs="+", choices=list(METHODS), metavar="M", help=", ".join(METHODS)
    )
    parser.add_argument(
        "--trusted", nargs="+", type=positive, metavar="N", help="sizes of trusted sets"
    )
    parser.add_argument("--seeds", type=positive, help="how many seeds, from 0 on")
    parser.add_argument(
        "--rates", nargs="+", type=_rate, metavar="LR", help="learning rates to choose from"
    )
    parser.add_argument("--epochs", type=positive, help="rounds of the pool")
    parser.add_argument("--pool", type=positive, default=5000, help="noisy images (5000)")
    parser.add_argument(
        "--validation", type=positive, default=1000, help="validation images (1000)"
    )
    parser.add_argument("--batch", type=positive, default=100, help="images per batch (100)")
    parser.add_argument(
        "--teacher-rate", type=_rate, default=0.1, help="learning rate of the teacher (0.1)"
    )
    parser.add_argument(
        "--confusions",
        choices=get_args(Confusions),
        help="what asymmetric noise mixes up: look-alikes of Fashion-MNIST, or each class with "
        "the next (fashion for 10 classes, else next)",
    )
    parser.add_argument(
        "--report-only", action="store_true", help="write the report on the results there are"
    )
    return parser


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not 0 < rate < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a finite number above 0")
    return rate
