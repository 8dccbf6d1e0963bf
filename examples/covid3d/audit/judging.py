"""Every scan's assessment, kept as it is made."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from examples.covid3d.audit.observing import Drawings, place_of
from examples.covid3d.audit.parts import Parts
from examples.covid3d.audit.quality import Assessment, assess
from examples.covid3d.common.files import read_json, write_json

_JUDGED = "judged.json"
# The trusted scans are measured anew for each portion: so many for each of them cost a quarter.
_PORTION = 4


def assessment_of(folder: Path, name: str) -> Assessment | None:
    """What was said of a scan; None if nothing was yet."""
    kept = read_json(place_of(folder, name) / _JUDGED)
    if not kept:
        return None
    return Assessment(**kept | {"parts": Parts(**kept["parts"])})


def judge(
    names: Sequence[str], drawings: Drawings, trusted: Drawings, folder: Path
) -> list[Assessment]:
    """Assesses scans, a portion at a time; portions that were done before are not done again.

    Args:
        names: The scans, each the name of a drawing.
        drawings: Their drawings.
        trusted: Drawings of the scans to judge by.
        folder: Where to write.

    Returns:
        Assessments, in the same order.
    """
    todo = [i for i, name in enumerate(names) if assessment_of(folder, name) is None]
    portion = _PORTION * len(trusted)
    with tqdm(total=len(names), initial=len(names) - len(todo), desc="judge", unit="scan") as bar:
        for first in range(0, len(todo), portion):
            part = drawings.some(todo[first : first + portion])
            for one in assess(part, trusted):
                write_json(place_of(folder, one.scan) / _JUDGED, dataclasses.asdict(one))
                bar.update()
    made = [assessment_of(folder, name) for name in names]
    return [one for one in made if one is not None]
