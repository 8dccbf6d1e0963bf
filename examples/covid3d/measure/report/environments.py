"""On what the units of a run were made, and whether they differ in it.

Another number of threads sums in another order, and a training ends up elsewhere in its third
digit; another version may do more. So each unit's record has a list ``made`` of what it was worked
on with, one entry for each sitting.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from examples.covid3d.common.config import STAGES
from examples.covid3d.common.files import read_json
from examples.covid3d.run.records import RECORD

_WORDS = {"commit": "commit", "jobs": "jobs at a time", "threads": "threads"}
_SHOWN = 3

Made = Mapping[str, Sequence[Mapping[str, Any]]]
"""By name of a unit, what it was worked on with."""


def records_in(stage: Path) -> list[Path]:
    """Records of complete units: an attempt that was given up has no part in results."""
    return [path for path in sorted(stage.rglob(RECORD)) if path.parent.suffix != ".partial"]


def made_in(run: Path, stages: Sequence[str] = STAGES[:-1]) -> dict[str, list[dict[str, Any]]]:
    """Reads the records of complete units; those that say nothing of it are left out.

    Args:
        run: The run folder.
        stages: Which stages.
    """
    found = {}
    for stage in stages:
        for path in records_in(run / stage):
            made = read_json(path).get("made")
            if isinstance(made, list) and made:
                found[str(path.parent.relative_to(run))] = made
    return found


def differing(made: Made) -> list[str]:
    """What units differ in, a sentence each: the values, and which units have them."""
    names = dict.fromkeys(key for sittings in made.values() for one in sittings for key in one)
    sentences = []
    for name in names:
        units: dict[str, list[str]] = {}
        for unit, sittings in made.items():
            values = dict.fromkeys(_text(one.get(name)) for one in sittings)
            units.setdefault(", then ".join(values), []).append(unit)
        if len(units) > 1 or any(", then " in value for value in units):
            parts = [f"{value} ({_some(own)})" for value, own in units.items()]
            sentences.append(f"{_WORDS.get(name, name)}: {'; '.join(parts)}")
    return sentences


def common(made: Made) -> dict[str, str]:
    """What all units have in common."""
    every = [one for sittings in made.values() for one in sittings]
    names = dict.fromkeys(key for one in every for key in one)
    values = {name: {_text(one.get(name)) for one in every} for name in names}
    return {_WORDS.get(name, name): own.pop() for name, own in values.items() if len(own) == 1}


def _text(value: object) -> str:
    if value is None:
        return "unknown"
    return value if isinstance(value, str) else json.dumps(value)


def _some(units: Sequence[str]) -> str:
    if len(units) > _SHOWN:
        return f"{len(units)} units, {units[0]} among them"
    return ", ".join(units)
