"""The one training of an audit: on every mask, while the trusted ones judge."""

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


def lesson_of(context: Context, replicate: Replicate, folder: Path) -> Lesson:
    """The audit as a training sees it: the given masks are the labels of the scans in question."""
    prepared = context.prepared
    return Lesson(
        context.config, context.device, replicate, prepared, folder, prepared / "scans", folder
    )


def learn(context: Context, replicate: Replicate, folder: Path) -> None:
    """Trains, and leaves weights and logs in ``folder``; an interrupted training is resumed."""
    lesson = lesson_of(context, replicate, folder)
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
        title="train",
    )


def memory_of(folder: Path) -> dict[str, dict[str, float]]:
    """What the training's log says of each scan: its mean loss and how often it was seen."""
    losses: dict[str, list[float]] = defaultdict(list)
    for row in read_csv(folder / "samples.csv"):
        losses[row["scan"]].append(float(row["loss"]))
    return {
        name: {"mean_loss": float(np.mean(seen)), "times_seen": float(len(seen))}
        for name, seen in losses.items()
    }
