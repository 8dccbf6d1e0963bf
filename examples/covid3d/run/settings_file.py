"""The settings that a run folder keeps."""

from __future__ import annotations

import json
from pathlib import Path

from examples.covid3d.common.config import Config, from_json
from examples.covid3d.common.errors import problem
from examples.covid3d.common.faults import passing_fault

CONFIG, AUDIT = "config.json", "audit.json"
"""Of a run, and of an audit; a folder is of one of the two."""


def kept_settings(out: Path) -> Config:
    """The settings of a run folder.

    Raises:
        UserError: If there are none or they cannot be read.
        OSError: If that is no fault of the file's own.
    """
    kept = out / CONFIG
    if not kept.exists() and not kept.is_symlink():
        raise problem(
            out,
            "the folder of an audit" if (out / AUDIT).is_file() else "no run is there",
            f"the folder of a run, with its {CONFIG}",
            "check --out; `python -m examples.covid3d run` makes one",
        )
    try:
        return from_json(json.loads(kept.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, AttributeError) as error:
        passing = passing_fault(error)
        if passing is not None:
            raise passing from error
        raise problem(
            kept,
            f"cannot be read ({error})",
            "settings of a run",
            "use a new --out folder; or, if this is the folder of a run, delete the file and give "
            "--preset and the options of that run again: what they finished is kept",
        ) from error
