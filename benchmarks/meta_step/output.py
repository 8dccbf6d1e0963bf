"""Writing results so that an interruption never leaves half a file, and reading them back."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

RESULT = "result.json"


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".partial-{os.getpid()}-{path.name}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text, making its folder if need be."""
    with _replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_result(folder: Path, result: Mapping[str, Any]) -> None:
    """Write ``result.json``."""
    write_text(folder / RESULT, json.dumps(result, indent=2, ensure_ascii=False) + "\n")


def write_figure(path: Path, figure: Figure) -> None:
    """Write a figure in the format of the path's suffix."""
    with _replacing(path) as temporary:
        figure.savefig(temporary, dpi=150)


def unfinished(folder: Path, same: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the results that an interrupted run has left in ``folder``.

    A finished run is not taken up: running again measures again.

    Args:
        folder: Where it wrote.
        same: What has to be the same as it was then, machine and settings, by name.

    Raises:
        ValueError: If there is a ``result.json`` that is not one of ours.
    """
    path = folder / RESULT
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
    as_before = all(found.get(name) == value for name, value in wanted.items())
    return results if as_before and not complete else []
