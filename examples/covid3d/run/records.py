"""What a unit's record says beside its inputs: its files, and on what it was made."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from support.replacing import TEMPORARY

RECORD = "stage.json"
"""Of what a unit was made, where, how long it took, and how long its files are."""

# Of a complete unit these may be deleted to save space.
_SPARE = ("last.pt", "best.pt", "predictions", "tensorboard")
_log = logging.getLogger("examples.covid3d")


def say_other_environment(name: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Warns of an attempt that goes on elsewhere than an earlier one."""
    changed = [f"{key} {before.get(key)} -> {value}" for key, value in now.items()]
    changed = [text for text, key in zip(changed, now, strict=True) if before.get(key) != now[key]]
    _log.warning("%s goes on with %s: its last digits may be others", name, ", ".join(changed))


def sizes_of(folder: Path) -> dict[str, int]:
    """Sizes of a unit's files by their names, without those that may be deleted to save space."""
    return {
        str(path.relative_to(folder)): path.stat().st_size
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and path.relative_to(folder).parts[0] not in (*_SPARE, RECORD)
        and not path.name.startswith(TEMPORARY)
    }
