"""Taking the teachers of another run, as experiment 2 does with those of experiment 1."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from examples.covid3d.common.config import Config
from examples.covid3d.common.errors import problem
from examples.covid3d.run.settings_file import kept_settings
from examples.covid3d.scans.manifest import Entry, patients_of, read_manifest
from examples.covid3d.scans.splits import Replicate, plan
from examples.covid3d.train.training import WEIGHTS

_SAME = ("spacing", "intensity", "window", "foreground_labels")


def teachers_in(run: Path) -> list[Path]:
    """Folders of the complete teachers of a run.

    Raises:
        UserError: If there is none.
    """
    found = sorted(
        path.parent
        for path in run.glob(f"teacher/*/{WEIGHTS}")
        if not path.parent.name.endswith(".partial")
    )
    if not found:
        raise problem(
            run,
            f"no trained teacher (teacher/SEED/{WEIGHTS})",
            "the run folder of an experiment whose `teacher` stage is complete",
            "run that experiment first, or drop --teacher-from",
        )
    return found


def teacher_for(run: Path, seed: int) -> Path:
    """Folder of the teacher with a seed, or of the run's first where it has no such."""
    found = teachers_in(run)
    same = [path for path in found if path.name.split("-")[0] == f"seed{seed}"]
    return (same or found)[0]


def check_teacher(
    config: Config, entries: Sequence[Entry], replicates: Sequence[Replicate], prepared: Path
) -> None:
    """Checks that another run's teachers may be taken.

    Args:
        config: Settings, with ``teacher_from``.
        entries: The prepared scans of this run.
        replicates: The replicates of this run.
        prepared: Where its prepared scans are.

    Raises:
        UserError: If its scans were prepared otherwise, or if a scan or a patient that is tested
            here trained a teacher there.
    """
    run = Path(config.teacher_from or "")
    other = kept_settings(run)
    for name in _SAME:
        if getattr(other, name) != getattr(config, name):
            raise problem(
                run,
                f"{name} {getattr(other, name)}; here it is {getattr(config, name)}",
                "a teacher of scans that were prepared alike",
                f"use the same --{name.replace('_', '-')} for both runs",
            )
    theirs = read_manifest(run / "prepare")
    # Its settings may name fewer seeds than were run before; their teachers are taken all the same.
    seeds = {int(path.name.split("-")[0].removeprefix("seed")) for path in teachers_in(run)}
    other = dataclasses.replace(other, seeds=tuple(sorted(seeds)))
    taught = {name for one in plan(theirs, other) for name in one.roles["teacher"]}
    # Under pseudonyms of two keys, one patient has two names.
    whose, here = patients_of(run / "prepare", theirs), patients_of(prepared, entries)
    patients = {whose[name] for name in taught}
    voxels = {entry.voxels_sha256 for entry in theirs if entry.name in taught}
    tested = {name for one in replicates for name in one.roles["test"]}
    both = sorted(
        entry.name
        for entry in entries
        if entry.name in tested and (here[entry.name] in patients or entry.voxels_sha256 in voxels)
    )
    if both:
        raise problem(
            run,
            f"its teacher was trained on {', '.join(both[:5])}, which would be tested here",
            "a teacher that has seen no test patient",
            "leave those scans out, or train a teacher on others",
        )
