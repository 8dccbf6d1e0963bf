"""What a unit of work was made of: settings, scans by their voxels, networks by their weights."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from examples.covid3d.common.config import STAGES, Config, settings_of
from examples.covid3d.common.files import read_json
from examples.covid3d.methods.rows import ROWS
from examples.covid3d.run.checksums import weights_of
from examples.covid3d.run.other_teacher import teacher_for
from examples.covid3d.run.records import RECORD
from examples.covid3d.scans.manifest import MANIFEST, Entry, read_manifest
from examples.covid3d.scans.splits import Replicate, plan

Inputs = dict[str, Any]

# Where scans and teachers are from does not matter: they are known by their voxels and weights.
_TOLD_BY_THE_SCANS = {
    "data", "kind", "unlabelled", "unlabelled_kind", "patients", "pseudonyms", "limit", "phantoms",
    "phantom_spacing", "phantom_seed", "teacher_from",
}  # fmt: skip
_SHORT = 16
_SHOWN = 4


def settings_for(config: Config, stage: str) -> dict[str, Any]:
    """The settings that matter to a stage: its own and those of the stages before it."""
    before = [settings_of(config, name) for name in STAGES[: STAGES.index(stage) + 1]]
    every = {name: value for one in before for name, value in one.items()}
    if stage != "prepare":
        every = {name: value for name, value in every.items() if name not in _TOLD_BY_THE_SCANS}
    plain: dict[str, Any] = json.loads(json.dumps(every))
    return plain


def inputs_of(run: Path, config: Config, stage: str, unit: Sequence[str], prepared: Path) -> Inputs:
    """What a unit would be made of now; of the first stage, without its files.

    Args:
        run: Run folder.
        config: Settings.
        stage: Name of the stage.
        unit: Names of the unit's folder within it.
        prepared: Folder of the prepared scans.

    Returns:
        Plain JSON types.
    """
    found: Inputs = {"settings": settings_for(config, stage)}
    if stage in ("prepare", "report") or not unit:
        return found
    sharing = [one for one in replicates_in(prepared, config) if unit[0] in _names_for(stage, one)]
    found["scans"] = _scans(stage, sharing[-1:] if stage == "teacher" else sharing, prepared)
    if not sharing or stage == "teacher":
        return found
    replicate = sharing[0]
    teacher = run / "teacher" / replicate.teacher
    if config.teacher_from is not None:
        teacher = teacher_for(Path(config.teacher_from), replicate.seed)
    if stage in ("pseudo-label", "student"):
        found["teacher"] = weights_of(teacher)
    if stage == "student":
        labels = read_json(run / "pseudo-label" / replicate.teacher / RECORD)
        found["labels"] = labels.get("output")
    if stage == "evaluate" and unit[-1] in ROWS and not ROWS[unit[-1]].external:
        trained = run / "student" / Path(*unit)
        folder = teacher if ROWS[unit[-1]].recipe is None else trained
        found["network"] = weights_of(folder)
    return found


def _names_for(stage: str, replicate: Replicate) -> tuple[str, ...]:
    return (replicate.teacher,) if stage in ("teacher", "pseudo-label") else (replicate.name,)


def replicates_in(prepared: Path, config: Config) -> Sequence[Replicate]:
    """Every seed and fold of the scans in a folder; none where none are prepared."""
    try:
        state = (prepared / MANIFEST).stat()
    except FileNotFoundError:
        return ()
    return _replicates(prepared, state.st_mtime_ns, state.st_size, config)


@functools.lru_cache(maxsize=4)
def _replicates(prepared: Path, time: int, size: int, config: Config) -> Sequence[Replicate]:
    return plan(_entries(prepared, time, size), config)


# What each stage sees of the scans of a role: their masks too, or their voxels alone.
_SEEN = {
    "teacher": {"teacher": True, "trusted": True},
    "pseudo-label": {"unlabelled": False},
    "student": {"teacher": True, "trusted": True, "unlabelled": False},
    # Masks of unlabelled scans tell how good the pseudo-labels were.
    "evaluate": {"test": True, "unlabelled": True},
}


def of_entry(role: str, entry: Entry, *, mask: bool, patient: bool) -> list[str]:
    """What a scan is to a unit: its role, voxels, mask if that is seen, patient and source."""
    return [
        role,
        entry.sha256[:_SHORT],
        entry.mask_sha256[:_SHORT] if mask else "",
        f"{entry.patient}, {entry.source}" if patient else entry.source,
    ]


def _scans(stage: str, sharing: Sequence[Replicate], prepared: Path) -> dict[str, list[str]]:
    if not sharing:
        return {}
    state = (prepared / MANIFEST).stat()
    known = _entries(prepared, state.st_mtime_ns, state.st_size)
    entries = {entry.name: entry for entry in known}
    found: dict[str, list[str]] = {}
    for replicate in sharing:
        for role, with_mask in _SEEN[stage].items():
            for name in replicate.roles[role]:
                own = entries[name]
                found[name] = of_entry(role, own, mask=with_mask, patient=stage == "evaluate")
    return found


@functools.lru_cache(maxsize=4)
def _entries(prepared: Path, time: int, size: int) -> Sequence[Entry]:
    del time, size
    return read_manifest(prepared)


def differences(old: Inputs, new: Inputs) -> list[str]:
    """What became different, in words; nothing where both are the same."""
    if not old.get("settings"):
        return ["its record cannot be read, or is of another version"]
    words = []
    for name, value in new["settings"].items():
        option = f"--{name.replace('_', '-')}"
        if name not in old["settings"]:
            words.append(f"{option}, a setting of this version")
        elif old["settings"][name] != value:
            words.append(f"{option} {_text(old['settings'][name])} -> {_text(value)}")
    if old.get("files") != new.get("files"):
        words.append("files of the data are others, or have other sizes or times")
    if old.get("version") != new.get("version"):
        words.append("another version prepared the scans")
    words += _between_scans(old.get("scans") or {}, new.get("scans") or {})
    for key, text in (
        ("teacher", "another teacher"),
        ("labels", "other pseudo-labels"),
        ("network", "another network"),
    ):
        if old.get(key) != new.get(key):
            words.append(text)
    return words


def _between_scans(old: Mapping[str, list[str]], new: Mapping[str, list[str]]) -> list[str]:
    both = [name for name in new if name in old and new[name] != old[name]]
    kinds = {
        "more scans": [name for name in new if name not in old],
        "scans gone": [name for name in old if name not in new],
    }
    for index, text in enumerate(("another role", "other voxels", "another mask", "of another")):
        kinds[text] = [name for name in both if new[name][index] != old[name][index]]
    words = []
    for text, names in kinds.items():
        if names:
            more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
            words.append(f"{text}: {', '.join(names[:_SHOWN])}{more}")
    return words


def _text(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(str(one) for one in value)
    return str(value)
