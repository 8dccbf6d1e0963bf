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
from examples.covid3d.common.files import read_json, write_json

_JUDGED = "judged.json"
# The trusted scans are measured anew for each portion; so large a one makes that a quarter.
_PORTION = 4


def assessment_of(folder: Path, name: str) -> Assessment | None:
    """What was said of a scan; None if nothing was yet."""
    kept = read_json(place_of(folder, name) / _JUDGED)
    if not kept:
        return None
    return Assessment(**kept | {"parts": Parts(**kept["parts"])})


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
    portions = min(_PORTION, len(names)) if len(names) > FEWEST else 1
    for first in tqdm(range(portions), desc="judge the trusted", unit="portion"):
        part = range(first, len(names), portions)
        if all(assessment_of(folder, names[i]) is not None for i in part):
            continue
        rest = [i for i in range(len(names)) if i not in part] or part
        _keep(assess(trusted.some(part), trusted.some(rest)), folder)


def _keep(assessments: Sequence[Assessment], folder: Path) -> int:
    for one in assessments:
        write_json(place_of(folder, one.scan) / _JUDGED, dataclasses.asdict(one))
    return len(assessments)


def assessments_of(folder: Path, names: Sequence[str]) -> list[Assessment]:
    """What was said of scans, in their order; those that nothing was said of are left out."""
    return [one for one in (assessment_of(folder, name) for name in names) if one is not None]
