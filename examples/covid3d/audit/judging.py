"""Every scan's assessment, kept as it is made."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from examples.covid3d.audit.observing import Drawings, place_of
from examples.covid3d.audit.parts import Parts
from examples.covid3d.audit.quality import Assessment, assess
from examples.covid3d.audit.trusted import FEWEST
from examples.covid3d.common.errors import problem
from examples.covid3d.common.files import read_json, write_json

_JUDGED = "judged.json"
# The trusted scans are measured anew for each portion; so large a one makes that a quarter.
_PORTION = 4


def assessment_of(folder: Path, name: str) -> Assessment | None:
    """What was said of a scan; None if nothing was yet.

    Raises:
        UserError: If another version said it.
    """
    path = place_of(folder, name) / _JUDGED
    kept = read_json(path)
    if not kept:
        return None
    try:
        return Assessment(**kept | {"parts": Parts(**kept["parts"])})
    except (TypeError, KeyError) as error:
        raise problem(
            path,
            f"not what this version writes ({error})",
            "an assessment of this version",
            f"delete the folder {folder}, to judge anew with what was trained",
        ) from error


def judge(names: Sequence[str], drawings: Drawings, trusted: Drawings, folder: Path) -> None:
    """Assesses scans, a portion at a time; what was assessed before is passed over.

    Args:
        names: The scans, each the name of a drawing.
        drawings: Their drawings.
        trusted: Drawings of the scans to judge by.
        folder: Where to write.
    """
    todo = [i for i, name in enumerate(names) if assessment_of(folder, name) is None]
    portion = _PORTION * len(trusted)
    with tqdm(total=len(names), initial=len(names) - len(todo), desc="judge", unit="scan") as bar:
        for first in range(0, len(todo), portion):
            part = drawings.some(todo[first : first + portion])
            bar.update(_keep(assess(part, trusted), folder))


def judge_trusted(names: Sequence[str], trusted: Drawings, folder: Path) -> None:
    """Assesses the trusted scans, each by those of them that are in other portions.

    By itself none would be far from the trusted ones.

    Args:
        names: Of the trusted scans, each the name of a drawing.
        trusted: Their drawings.
        folder: Where to write.
    """
    for part, rest in tqdm(portions_of(len(names)), desc="judge the trusted", unit="portion"):
        if any(assessment_of(folder, names[i]) is None for i in part):
            _keep(assess(trusted.some(part), trusted.some(rest)), folder)


def portions_of(count: int) -> list[tuple[list[int], list[int]]]:
    """Numbers up to ``count`` in a few portions, each with the numbers outside it.

    Two are too few for that, and one portion.
    """
    every = range(count)
    portions = min(_PORTION, count) if count > FEWEST else 1
    parts = [list(every[first::portions]) for first in range(portions)]
    return [(part, [i for i in every if i not in part] or part) for part in parts]


def _keep(assessments: Sequence[Assessment], folder: Path) -> int:
    for one in assessments:
        write_json(place_of(folder, one.scan) / _JUDGED, dataclasses.asdict(one))
    return len(assessments)


def assessments_of(folder: Path, names: Sequence[str]) -> list[Assessment]:
    """What was said of scans, in their order; those that nothing was said of are left out."""
    return [one for one in (assessment_of(folder, name) for name in names) if one is not None]
