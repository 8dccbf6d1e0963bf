"""Finished trainings are not replaced unless that was asked for."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path

from examples.covid3d.common.config import STAGES
from examples.covid3d.common.errors import problem
from examples.covid3d.methods.rows import ROWS
from examples.covid3d.run.inputs import replicates_in
from examples.covid3d.run.run_folder import RunFolder
from examples.covid3d.train.training import LAST, WEIGHTS

TRAINED = ("teacher", "student")
"""Stages whose units take long and cannot be had back."""
_SHOWN = 3

Unit = tuple[str, ...]


def refuse_to_overwrite(
    run: RunFolder,
    units: Iterable[tuple[str, Unit]],
    prepared: Path | None = None,
    known: Collection[str] | None = None,
) -> None:
    """Checks that no finished training, and none with a checkpoint, would be begun anew.

    Args:
        run: Run folder.
        units: Stages and units that would be worked on, or would no longer count.
        prepared: Folder of the prepared scans, where they are not in their place yet.
        known: Which inputs are what they will be when those units are due; all by default.

    Raises:
        UserError: If one would be, with what made it stale.
    """
    lost: list[str] = []
    reasons: list[str] = []
    for stage, unit in units:
        if stage not in TRAINED:
            continue
        why = run.why_stale(stage, *unit, prepared=prepared, known=known)
        if why and _has_something_to_lose(run, stage, unit):
            lost.append("/".join((stage, *unit)))
            reasons += [one for one in why if one not in reasons]
    if not lost:
        return
    more = f" and {len(lost) - _SHOWN} more" if len(lost) > _SHOWN else ""
    raise problem(
        run.path,
        f"{len(lost)} trainings are there already, and would be begun anew: "
        f"{', '.join(lost[:_SHOWN])}{more}. What changed: {'; '.join(reasons)}",
        "the settings and scans that they were trained with",
        "take the change back; or give another --out; or add --redo to train them again",
    )


def _has_something_to_lose(run: RunFolder, stage: str, unit: Unit) -> bool:
    final = run.folder(stage, *unit)
    if (final / WEIGHTS).is_file():
        # Of a file that is cut short nothing is left to lose.
        return WEIGHTS not in run.damaged(stage, *unit)
    checkpoint = final.with_name(f"{final.name}.partial") / LAST
    return checkpoint.is_file() and not run.can_resume(stage, *unit)


def trainings_after(
    run: RunFolder, first: str, prepared: Path | None = None
) -> Iterator[tuple[str, Unit]]:
    """The trainings of a run as its settings are, from a stage on."""
    replicates = replicates_in(prepared or run.folder("prepare"), run.config)
    stages: Sequence[str] = STAGES[STAGES.index(first) :]
    if "teacher" in stages and run.config.teacher_from is None:
        yield from (("teacher", (name,)) for name in dict.fromkeys(r.teacher for r in replicates))
    if "student" in stages:
        for one in replicates:
            for method in run.config.methods:
                if method in ROWS and ROWS[method].recipe is not None:
                    yield "student", (one.name, method)
