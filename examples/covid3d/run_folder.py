"""The run folder: which stages are complete, and under which settings."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from examples.covid3d.config import STAGES, Config, settings_of
from examples.covid3d.errors import problem
from examples.covid3d.files import write_json
from examples.covid3d.sources import listing

_RECORD = "stage.json"


@dataclass(frozen=True)
class RunFolder:
    """A folder with one sub-folder for each stage.

    A stage writes into ``STAGE.partial``, which is renamed to ``STAGE`` when all of it is there.
    Its record holds a fingerprint of the settings that it and the stages before it read: a stage is
    complete if it is there under the present fingerprint, and a partial one with it is resumed.

    Attributes:
        path: The folder.
        config: The present settings.
    """

    path: Path
    config: Config

    def folder(self, stage: str) -> Path:
        """Where a complete stage lies."""
        return self.path / stage

    def _fingerprint(self, stage: str) -> str:
        earlier = STAGES[: STAGES.index(stage) + 1]
        text: list[Any] = [settings_of(self.config, name) for name in earlier]
        folders = (self.config.benchmark, self.config.unlabelled)
        text.append(listing(*(Path(folder) for folder in folders if folder is not None)))
        return hashlib.sha256(json.dumps(text, sort_keys=True).encode()).hexdigest()

    def _record(self, folder: Path) -> dict[str, Any]:
        try:
            record: dict[str, Any] = json.loads((folder / _RECORD).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return record

    def is_complete(self, stage: str) -> bool:
        """Whether the stage's outputs are there, made with the present settings."""
        return self._record(self.folder(stage)).get("fingerprint") == self._fingerprint(stage)

    def seconds(self, stage: str) -> float:
        """Wall-clock seconds a complete stage took, interrupted attempts included."""
        return float(self._record(self.folder(stage)).get("seconds", 0.0))

    def require_before(self, stage: str) -> None:
        """Checks that all the stages before one are complete.

        Raises:
            UserError: If one is not.
        """
        for earlier in STAGES[: STAGES.index(stage)]:
            if not self.is_complete(earlier):
                raise problem(
                    self.path,
                    f"`{stage}` needs `{earlier}`, missing or made with other settings or data",
                    f"a complete `{earlier}` stage",
                    f"python -m examples.covid3d {earlier} --out {self.path} (or `run` for all)",
                )

    def _clear(self, folder: Path) -> None:
        if not folder.exists():
            return
        # Delete nothing but what a stage wrote: the user may have pointed --out at something else.
        if not (folder / _RECORD).is_file():
            raise problem(
                folder, "not a folder of this program", "no such folder", "choose another --out"
            )
        shutil.rmtree(folder)

    @contextmanager
    def working(self, stage: str) -> Iterator[Path]:
        """Yields the folder for a stage to write into, and completes the stage when it ends well.

        Args:
            stage: Name of the stage.

        Yields:
            ``STAGE.partial``, with what an interrupted attempt under the same settings left.
        """
        partial = self.path / f"{stage}.partial"
        fingerprint = self._fingerprint(stage)
        record = self._record(partial)
        if record.get("fingerprint") != fingerprint:
            self._clear(partial)
            partial.mkdir(parents=True)
            record = {"fingerprint": fingerprint, "seconds": 0.0}
            write_json(partial / _RECORD, record)
        start = time.perf_counter()
        try:
            yield partial
        finally:
            record["seconds"] = float(record["seconds"]) + time.perf_counter() - start
            write_json(partial / _RECORD, record)
        self._clear(self.folder(stage))
        partial.rename(self.folder(stage))
