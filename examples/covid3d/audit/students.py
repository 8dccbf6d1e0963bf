"""What networks draw that did not learn from the mask in question."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

from torch import Tensor, nn

from examples.covid3d.common.files import read_csv, write_csv
from examples.covid3d.methods.rows import ROWS
from examples.covid3d.methods.rows.averaged import Averaged
from examples.covid3d.train.inference import load_network
from examples.covid3d.train.lesson import Lesson
from examples.covid3d.train.training import WEIGHTS, train

ROW = "rgs-scan"
"""How the two students are trained."""

MEMORY = "memory.csv"

_ROLES = ("trusted", "unlabelled")


def halves_of(lesson: Lesson) -> tuple[Lesson, Lesson]:
    """Deals trusted and audited scans out to two lessons, every other one to each."""
    first, second = (
        replace(
            lesson,
            folder=lesson.folder / f"half-{half + 1}",
            replicate=replace(
                lesson.replicate,
                roles={
                    **lesson.replicate.roles,
                    **{role: lesson.replicate.roles[role][half::2] for role in _ROLES},
                },
            ),
        )
        for half in (0, 1)
    )
    return first, second


def train_row(lesson: Lesson, row: str, title: str) -> Path:
    """Trains a row from scratch in the lesson's folder, where it resumes; its average is kept.

    Returns:
        The file of its weights.
    """
    found = ROWS[row]
    if found.recipe is None:
        raise ValueError(f"{row} is not trained")
    model = lesson.initial_network()
    config = replace(
        lesson.config,
        schedule=found.schedule or lesson.config.schedule,
        learning_rate=found.rate * lesson.config.learning_rate,
        keep="last",
    )
    train(
        model,
        Averaged(found.recipe(lesson, model), model),
        _unvalidated,
        config=config,
        length=found.length(lesson),
        folder=lesson.folder,
        title=title,
    )
    return lesson.folder / WEIGHTS


def _unvalidated(model: nn.Module) -> float:
    """Nothing is chosen by how a training goes, and trusted scans are left for the audit."""
    del model
    return math.nan


def drawn_by_others(lesson: Lesson, title: str = "audit") -> dict[str, Tensor]:
    """Trains two students, each on half of the trusted and half of the audited scans.

    So every mask, a trusted one as well, is beside the drawing of a network that did not learn
    from it, and the trusted ones tell how far a sound mask is from such a drawing.

    Args:
        lesson: Roles ``trusted`` (at least two) and ``unlabelled``, the audited ones; ``labels``
            has their given masks. Trainings lie in its folder and resume; ``memory.csv`` says
            there what the students remember of each audited scan.
        title: Shown in the progress bars.

    Returns:
        Foreground probability of every trusted and every audited scan on its working grid.
    """
    halves = halves_of(lesson)
    networks = []
    for number, half in enumerate(halves):
        weights = train_row(half, ROW, f"{title}, student {number + 1} of 2")
        networks.append(load_network(weights, lesson.device))
    drawn = {}
    for other, half in zip(reversed(networks), halves, strict=True):
        for scan in half.trusted_scans() + half.unlabelled_scans():
            drawn[scan.name] = lesson.probability(other, scan)
    memories = [row for half in halves for row in read_csv(half.folder / MEMORY)]
    write_csv(lesson.folder / MEMORY, memories)
    return drawn
