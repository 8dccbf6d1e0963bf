"""Settings that a dataset's own description gives, and those that it contradicts."""

from __future__ import annotations

import logging
from collections.abc import Collection
from pathlib import Path
from typing import Any

from examples.covid3d.common.config import Config
from examples.covid3d.common.errors import problem
from examples.covid3d.scans.readers.description import Description, read_description
from examples.covid3d.scans.readers.guess import guess_kind

_log = logging.getLogger("examples.covid3d")


def description_of(path: str | None, kind: str | None) -> Description | None:
    """The ``dataset.json`` of a dataset in nnU-Net's layout; None where there is none."""
    if path is None or (kind or guess_kind(Path(path))) != "nnunet":
        return None
    return read_description(Path(path))


def described_settings(config: Config, given: Collection[str]) -> dict[str, Any]:
    """Settings to change as ``dataset.json`` says, and says so.

    Args:
        config: Settings.
        given: Names of those that the user chose.

    Returns:
        New values by name: ``zscore`` for other images than CT, and all of the dataset's labels as
        foreground, unless the user chose otherwise.

    Raises:
        UserError: If a choice contradicts it: ``ct`` for other images, labels that are not there.
    """
    changed: dict[str, Any] = {}
    for path, kind in (
        (config.data, config.kind),
        (config.unlabelled, config.unlabelled_kind),
    ):
        own = description_of(path, kind)
        if own is None:
            continue
        if own.is_ct is False and config.intensity == "ct":
            if "intensity" in given:
                raise problem(
                    "--intensity",
                    f"ct, and {own.path} says {own.channels[0]}",
                    "zscore, or window, for other images than CT",
                    f"pass --intensity zscore, or correct {own.path.name} if they are CT",
                )
            changed["intensity"] = "zscore"
            _log.info("--intensity zscore: %s says %s", own.path, own.channels[0])
        if not own.labels or path != config.data:
            continue
        if "foreground_labels" not in given and config.foreground_labels == (1,):
            if own.foreground != (1,):
                changed["foreground_labels"] = own.foreground
                _log.info("--foreground-labels %s: %s has %s", *_said(own))
        elif not set(config.foreground_labels) <= set(own.foreground):
            raise problem(
                "--foreground-labels",
                " ".join(map(str, config.foreground_labels)),
                f"labels of {own.path}: {_said(own)[2]}",
                "choose among them, or correct it",
            )
    return changed


def _said(own: Description) -> tuple[str, Path, str]:
    names = ", ".join(
        f"{' '.join(map(str, values))} ({name})" for name, values in own.labels.items()
    )
    return " ".join(map(str, own.foreground)), own.path, names
