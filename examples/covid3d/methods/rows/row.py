"""What a row of the tables is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import nn

from examples.covid3d.common.config import Schedule
from examples.covid3d.train.lesson import Lesson
from examples.covid3d.train.training import Length, Recipe

Family = Literal["Fully supervised", "Semi-supervised", "Noisy teacher", "Control", "Beyond"]
"""What kind of method a row is, after the paper's Table 4."""


@dataclass(frozen=True)
class Row:
    """A way to train, and its row in the tables.

    Attributes:
        label: Name in tables and figures.
        meaning: One line for the report.
        family: What kind of method it is.
        recipe: Makes the recipe of training ``model`` in a lesson; None for the teacher
            itself, and for predictions that come from elsewhere.
        start: Where the parameters start; ``student``: as ``student_start`` says.
        length: How long it trains.
        schedule: Of its learning rate, where not the run's. A moving average needs no decay.
        rate: Its learning rate, in units of the run's.
        external: Its predictions come from another program.
        told: It is told how good each pseudo-label truly is, so that the truth must be known.
    """

    label: str
    meaning: str
    family: Family
    recipe: Callable[[Lesson, nn.Module], Recipe] | None
    start: Literal["student", "scratch", "teacher"] = "student"
    length: Callable[[Lesson], Length] = Lesson.student_length
    schedule: Schedule | None = None
    rate: float = 1.0
    external: bool = False
    told: bool = False
