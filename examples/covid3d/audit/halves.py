"""The trainings of an audit as units of its folder: one on each half of the scans."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from examples.covid3d.audit.dealing import deal
from examples.covid3d.audit.inputs import HALVES
from examples.covid3d.audit.students import MEMORY, ROW, train_row
from examples.covid3d.common.files import read_csv
from examples.covid3d.run.context import Context
from examples.covid3d.scans.manifest import Entry
from examples.covid3d.scans.splits import Replicate
from examples.covid3d.train.lesson import Lesson


@dataclass(frozen=True, eq=False)
class Half:
    """One half of the scans.

    Attributes:
        name: Of its unit in the audit's folder.
        lesson: What a network learns from it.
    """

    name: str
    lesson: Lesson

    @property
    def scans(self) -> list[str]:
        """Names of its scans, trusted and audited."""
        roles = self.lesson.replicate.roles
        return [*roles["trusted"], *roles["unlabelled"]]


def both_halves(
    context: Context, replicate: Replicate, entries: Sequence[Entry]
) -> tuple[Half, Half]:
    """Both halves; the given masks are the labels of the scans in question.

    Args:
        context: The audit's folder, with settings.
        replicate: Roles ``trusted`` and ``unlabelled``, the audited scans; two or more of either.
        entries: The prepared scans.
    """
    lesson = Lesson(
        context.config,
        context.device,
        replicate,
        context.prepared,
        context.prepared,
        context.prepared / "scans",
        context.prepared,
        {entry.name: entry.source for entry in entries},
    )
    first, second = (
        replace(lesson, replicate=replace(replicate, roles={**replicate.roles, **own}))
        for own in deal(replicate.roles, entries)
    )
    return Half(HALVES[0], first), Half(HALVES[1], second)


def learn(half: Half, folder: Path) -> None:
    """Trains on a half; leaves weights and logs in ``folder``; what was interrupted is resumed."""
    train_row(replace(half.lesson, folder=folder), ROW, f"train {half.name}")


@dataclass(frozen=True)
class Remembered:
    """What a training remembers of a scan.

    Attributes:
        memory: What it came to think of it (φ); NaN for a trusted scan, or one it never saw.
        loss: Its mean loss, likewise.
    """

    memory: float = math.nan
    loss: float = math.nan


def remembered_in(folder: Path) -> dict[str, Remembered]:
    """What the training in ``folder`` remembers of each audited scan that it saw."""
    return {
        row["scan"]: Remembered(float(row["memory"]), float(row["mean_loss"]))
        for row in read_csv(folder / MEMORY)
        if int(row["seen"])
    }
