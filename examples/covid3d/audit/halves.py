"""The trainings of an audit: two, each on half of the scans, so that neither saw the other half."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np
from torch import nn

from examples.covid3d.common.files import read_csv
from examples.covid3d.measure.metrics import dice
from examples.covid3d.methods.rows import ROWS
from examples.covid3d.run.context import Context
from examples.covid3d.scans.splits import Replicate
from examples.covid3d.train.inference import foreground_probability
from examples.covid3d.train.lesson import Lesson
from examples.covid3d.train.training import train

ROW = "equal-trusted"


def halves_of(replicate: Replicate) -> tuple[Replicate, Replicate]:
    """Every second trusted and every second audited scan, and the others.

    Args:
        replicate: Roles ``trusted`` and ``unlabelled``, the audited scans; two or more of either.
    """
    trusted, audited = replicate.roles["trusted"], replicate.roles["unlabelled"]

    def half(first: int) -> Replicate:
        roles: dict[str, tuple[str, ...]] = {"teacher": (), "test": ()}
        own = {"trusted": trusted[first::2], "unlabelled": audited[first::2]}
        return Replicate(replicate.seed, first + 1, roles | own, f"half-{first + 1}")

    return half(0), half(1)


def lesson_of(context: Context, replicate: Replicate, folder: Path) -> Lesson:
    """The audit as a training sees it: the given masks are the labels of the scans in question."""
    prepared = context.prepared
    return Lesson(
        context.config, context.device, replicate, prepared, folder, prepared / "scans", folder
    )


def learn(context: Context, half: Replicate, folder: Path) -> None:
    """Trains on a half; leaves weights and logs in ``folder``; what was interrupted is resumed."""
    lesson = lesson_of(context, half, folder)
    scans = lesson.trusted_scans()

    def validate(model: nn.Module) -> float:
        """Mean Dice on the trusted scans, which it learns from: a sign that it learns at all."""
        scores = []
        for scan in scans:
            probability = foreground_probability(model, scan.image, lesson.config.patch, 0.25)
            scores.append(dice((probability > 0.5).numpy(), scan.mask))
        return float(np.mean(scores))

    row = ROWS[ROW]
    assert row.recipe is not None
    model = lesson.initial_network()
    train(
        model,
        row.recipe(lesson, model),
        validate,
        config=context.config,
        length=lesson.student_length(),
        folder=folder,
        title=f"train {half.teacher}",
    )


def losses_of(folder: Path) -> dict[str, float]:
    """Mean loss of each scan over the training in ``folder``, as far as it was logged."""
    losses: dict[str, list[float]] = defaultdict(list)
    for row in read_csv(folder / "samples.csv"):
        losses[row["scan"]].append(float(row["loss"]))
    return {name: float(np.mean(seen)) for name, seen in losses.items()}
