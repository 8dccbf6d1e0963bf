"""The run folder: which stages are complete, and under which settings."""

from __future__ import annotations

import functools
import hashlib
import json
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from examples.covid3d.common.config import STAGES, Config, settings_of
from examples.covid3d.common.errors import problem
from examples.covid3d.common.files import read_json, write_json
from examples.covid3d.run.other_teacher import state_of
from examples.covid3d.scans.sources import listing
from support.replacing import TEMPORARY

_RECORD = "stage.json"
_DOOMED = ".deleted"


@dataclass(frozen=True)
class RunFolder:
    """A folder with one sub-folder for each stage, and in it one for each unit of work.

    ``prepare`` and ``report`` are one unit; the stages between have one for each teacher, or for
    each seed, fold and method. A unit writes into ``NAME.partial``, which is renamed to ``NAME``
    when all of it is there. Its record holds a fingerprint of the settings that its stage and the
    stages before it read: a unit is complete if it is there under the present fingerprint, and a
    partial one with it is resumed. So a further seed or method adds units and redoes none.

    Attributes:
        path: The folder.
        config: The present settings.
    """

    path: Path
    config: Config

    def folder(self, stage: str, *unit: str) -> Path:
        """Where a complete unit lies."""
        return self.path.joinpath(stage, *unit)

    @functools.cached_property
    def _listing(self) -> list[tuple[str, int, int]]:
        return listing(self.config)

    def _settings(self, stage: str) -> list[Any]:
        return [settings_of(self.config, name) for name in STAGES[: STAGES.index(stage) + 1]]

    def _fingerprint(self, stage: str) -> str:
        text = [*self._settings(stage), self._listing]
        if self.config.teacher_from is not None and stage not in ("prepare", "teacher"):
            text.append(state_of(Path(self.config.teacher_from)))
        return _digest(text)

    def has_settings(self, stage: str, *unit: str) -> bool:
        """Whether a complete unit was made with the present settings, wherever the data is now."""
        record = read_json(self.folder(stage, *unit) / _RECORD)
        return bool(record.get("settings") == _digest(self._settings(stage)))

    def is_complete(self, stage: str, *unit: str) -> bool:
        """Whether the unit's outputs are there, made with the present settings."""
        record = read_json(self.folder(stage, *unit) / _RECORD)
        return bool(record.get("fingerprint") == self._fingerprint(stage))

    def seconds(self, stage: str, *unit: str) -> float:
        """Wall-clock seconds a complete unit took, interrupted attempts included."""
        return float(read_json(self.folder(stage, *unit) / _RECORD).get("seconds", 0.0))

    def require(self, stage: str, needed: str, *unit: str) -> None:
        """Checks that what ``stage`` needs is complete.

        Raises:
            UserError: If it is not.
        """
        if not self.is_complete(needed, *unit):
            raise problem(
                self.path,
                f"`{stage}` needs `{'/'.join((needed, *unit))}`, missing or made with other "
                "settings or data",
                f"a complete `{needed}` stage",
                f"python -m examples.covid3d {needed} --out {self.path} (or `run` for all)",
            )

    def _clear(self, folder: Path) -> None:
        # Deleted under a name of its own: an interruption leaves no half of a unit behind, and
        # another process at work on another unit is not in the way.
        doomed = self.path / "-".join((_DOOMED, *folder.relative_to(self.path).parts))
        shutil.rmtree(doomed, ignore_errors=True)
        if not folder.exists():
            return
        # Delete nothing but what a unit wrote: the user may have pointed --out at something else.
        _sweep(folder)
        if not (folder / _RECORD).is_file() and any(folder.iterdir()):
            raise problem(
                folder, "not a folder of this program", "no such folder", "choose another --out"
            )
        folder.rename(doomed)
        shutil.rmtree(doomed)

    @contextmanager
    def working(self, stage: str, unit: Sequence[str] = ()) -> Iterator[Path]:
        """Yields the folder for a unit to write into, and completes the unit when it ends well.

        Args:
            stage: Name of the stage.
            unit: Names of the unit's folder within it.

        Yields:
            ``NAME.partial``, with what an interrupted attempt under the same settings left.
        """
        final = self.folder(stage, *unit)
        partial = final.with_name(f"{final.name}.partial")
        fingerprint = self._fingerprint(stage)
        record = read_json(partial / _RECORD)
        if record.get("fingerprint") != fingerprint:
            self._clear(partial)
            partial.mkdir(parents=True)
            record = {"fingerprint": fingerprint, "seconds": 0.0}
            record["settings"] = _digest(self._settings(stage))
            write_json(partial / _RECORD, record)
        _sweep(partial)
        start = time.perf_counter()
        try:
            yield partial
        finally:
            record["seconds"] = float(record["seconds"]) + time.perf_counter() - start
            write_json(partial / _RECORD, record)
        self._clear(final)
        partial.rename(final)


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _sweep(folder: Path) -> None:
    """Deletes what a killed process was writing."""
    for path in sorted(folder.rglob(f"{TEMPORARY}*")):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
