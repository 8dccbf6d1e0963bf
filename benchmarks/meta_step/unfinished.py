"""Results that an interrupted run has left."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

RESULT = "result.json"


def unfinished(folder: Path, same: Mapping[str, Any], name: str = RESULT) -> list[dict[str, Any]]:
    """Return the results that an interrupted run has left in ``folder``.

    A finished run is not taken up: running again measures again.

    Args:
        folder: Where it wrote.
        same: What has to be the same as it was then, machine and settings, by name.
        name: Of the file.

    Raises:
        ValueError: If there is a file of that name that is not one of ours.
    """
    path = folder / name
    if not path.exists():
        return []
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        complete, results = found["complete"], list(found["results"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} is not a result of this benchmark ({error!r}). Move it away, or give another "
            f"folder."
        ) from error
    wanted = json.loads(json.dumps(dict(same)))
    as_before = all(found.get(key) == value for key, value in wanted.items())
    return results if as_before and not complete else []
