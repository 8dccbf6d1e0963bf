"""The stages between preparation and evaluation, one unit of each."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
from torch import nn
from tqdm import tqdm

from examples.covid3d.measure.metrics import dice
from examples.covid3d.methods.rows import ROWS
from examples.covid3d.methods.rows.supervised import Supervised
from examples.covid3d.run.context import Context
from examples.covid3d.scans.splits import Replicate
from examples.covid3d.scans.store import is_whole, write_labels
from examples.covid3d.train.inference import foreground_probability
from examples.covid3d.train.lesson import TEACHER, Lesson
from examples.covid3d.train.training import train


def _validator(lesson: Lesson) -> Callable[[nn.Module], float]:
    """Mean Dice on the whole trusted scans, with little overlap to be quick."""
    scans = lesson.trusted_scans()

    def validate(model: nn.Module) -> float:
        scores = []
        for scan in scans:
            probability = foreground_probability(model, scan.image, lesson.config.patch, 0.25)
            scores.append(dice((probability > 0.5).numpy(), scan.mask))
        return float(np.mean(scores))

    return validate


def train_teacher(context: Context, replicate: Replicate, folder: Path) -> None:
    """Stage ``teacher``: trains on the teacher's scans with expert masks (Step 1 of Fig. 1)."""
    lesson = context.lesson(replicate, folder)
    config = context.config
    if sum(other.teacher == replicate.teacher for other in context.replicates()) > 1:
        # The trusted scans of one fold are tested in another: they must not choose a checkpoint.
        config = dataclasses.replace(config, keep="last")
    model = lesson.initial_network()
    sampler = lesson.sampler(lesson.teacher_scans(), TEACHER)
    train(
        model,
        Supervised(model, context.device, sampler),
        _validator(lesson),
        config=config,
        length=lesson.teacher_length(),
        folder=folder,
        title=f"teacher {replicate.teacher}",
    )


def label_unlabelled(context: Context, replicates: list[Replicate], folder: Path) -> None:
    """Stage ``pseudo-label``: a teacher labels unlabelled scans (Step 2 of Fig. 1).

    Args:
        context: Run folder and device.
        replicates: Those that share the teacher; the scans unlabelled in any of them are labelled.
        folder: Where to write, a folder for each scan.
    """
    network = context.lesson(replicates[0], folder).teacher_network()
    scans = {
        scan.name: scan
        for replicate in replicates
        for scan in context.lesson(replicate, folder).unlabelled_scans()
    }
    lesson = context.lesson(replicates[0], folder)
    title = f"pseudo-label {replicates[0].teacher}"
    for name in tqdm(sorted(scans), desc=title, unit="scan"):
        # The mask is written last.
        if not (folder / name / "mask.npy").exists() or not is_whole(folder / name):
            write_labels(folder / name, lesson.label(network, scans[name]))


def train_student(context: Context, replicate: Replicate, method: str, folder: Path) -> None:
    """Stage ``student``: trains one row (Step 3 of Fig. 1).

    Rows of a replicate that start alike start from the same state, and those that draw the same
    kind of scans see the same batches in the same order.
    """
    row = ROWS[method]
    if row.recipe is None:
        raise ValueError(f"{method} is not trained")
    lesson = context.lesson(replicate, folder)
    start = row.start if row.start != "student" else context.config.student_start
    model = lesson.teacher_network() if start == "teacher" else lesson.initial_network()
    train(
        model,
        row.recipe(lesson, model),
        _validator(lesson),
        config=dataclasses.replace(
            context.config,
            schedule=row.schedule or context.config.schedule,
            learning_rate=row.rate * context.config.learning_rate,
        ),
        length=row.length(lesson),
        folder=folder,
        title=f"{replicate.name} {method}",
    )
