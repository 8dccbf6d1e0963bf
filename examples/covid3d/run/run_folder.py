"""The run folder: which units are complete, of what they were made, and why one is not."""

from __future__ import annotations

import functools
import hashlib
import json
import shutil
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from examples.covid3d.common.config import Config
from examples.covid3d.common.errors import problem
from examples.covid3d.common.files import read_json, write_json
from examples.covid3d.run.checksums import checksum_of_file, checksum_of_labels, look_of_weights
from examples.covid3d.run.inputs import Inputs, differences, inputs_of, settings_for
from examples.covid3d.run.records import RECORD, say_other_environment, sizes_of
from examples.covid3d.scans.contents import VERSION
from examples.covid3d.scans.sources import listing
from examples.covid3d.train.training import WEIGHTS
from support.replacing import TEMPORARY

_DOOMED = ".deleted"
_SHOWN = 3


@dataclass(frozen=True)
class RunFolder:
    """A folder with one sub-folder for each stage, and in it one for each unit of work.

    ``prepare`` and ``report`` are one unit; the stages between have one for each teacher, or for
    each seed, fold and method. A unit writes into ``NAME.partial``, which is renamed to ``NAME``
    when all of it is there. Its record ``stage.json`` says of what it was made: ``inputs`` (the
    settings that its stage and the stages before it read, its scans by their voxels and masks, its
    networks by their weights); ``made``, on what (see
    :func:`~examples.covid3d.run.environment.environment`), one entry for each that it was worked on
    with; ``seconds``; and ``files``, their sizes. A unit is complete if it is there, whole, and
    would be made of the same now; a partial one of the same is resumed. So a further seed or method
    adds units and redoes none, and so does a copy of the data elsewhere.

    Attributes:
        path: The folder.
        config: The present settings.
        inputs_of: Says of what a unit would be made now; see
            :func:`~examples.covid3d.run.inputs.inputs_of`.
    """

    path: Path
    config: Config
    inputs_of: Callable[[Path, Config, str, Sequence[str], Path], Inputs] = inputs_of

    def folder(self, stage: str, *unit: str) -> Path:
        """Where a complete unit lies."""
        return self.path.joinpath(stage, *unit)

    @functools.cached_property
    def _files(self) -> str:
        text = json.dumps(listing(self.config))
        return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()

    def _inputs(self, stage: str, unit: Sequence[str], prepared: Path | None = None) -> Inputs:
        where = prepared or self.folder("prepare")
        found = self.inputs_of(self.path, self.config, stage, unit, where)
        if stage == "prepare":
            found |= {"files": self._files, "version": VERSION}
        return found

    def record(self, stage: str, *unit: str) -> dict[str, Any]:
        """What the record of a complete unit says; empty where there is none."""
        content = read_json(self.folder(stage, *unit) / RECORD)
        return content if isinstance(content, dict) else {}

    def has_settings(self, stage: str, *unit: str) -> bool:
        """Whether a complete unit was made with the present settings, wherever the data is now."""
        inputs = self.record(stage, *unit).get("inputs", {})
        return bool(inputs.get("settings") == settings_for(self.config, stage))

    def damaged(self, stage: str, *unit: str) -> dict[str, str]:
        """Files of a unit that are not as long as they were when it was complete, in words."""
        folder = self.folder(stage, *unit)
        found = {}
        for name, size in self.record(stage, *unit).get("files", {}).items():
            try:
                now = (folder / name).stat().st_size
            except FileNotFoundError:
                found[name] = f"{folder / name} is gone"
                continue
            if now != size:
                found[name] = f"{folder / name} has {now} bytes, and had {size}"
        return found

    def why_stale(
        self,
        stage: str,
        *unit: str,
        prepared: Path | None = None,
        known: Collection[str] | None = None,
    ) -> list[str]:
        """Why a unit that is there does not count, in words; nothing where it does.

        Args:
            stage: Name of the stage.
            unit: Names of the unit's folder within it. One under way counts where none is complete.
            prepared: Folder of the prepared scans, where they are not in their place yet.
            known: Which of the inputs are what they will be when the unit's turn comes; all of them
                by default.
        """
        old = self._old_inputs(stage, unit)
        if old is None:
            return []
        new = self._inputs(stage, unit, prepared)
        if known is not None:
            return differences({key: old.get(key) for key in known}, {k: new.get(k) for k in known})
        return differences(old, new) + list(self.damaged(stage, *unit).values())[:_SHOWN]

    def _old_inputs(self, stage: str, unit: Sequence[str]) -> Inputs | None:
        final = self.folder(stage, *unit)
        folder = final if final.is_dir() else _partial(final)
        if not folder.is_dir():
            return None
        record = read_json(folder / RECORD)
        inputs: Inputs = record.get("inputs", {}) if isinstance(record, dict) else {}
        return inputs

    def can_resume(self, stage: str, *unit: str) -> bool:
        """Whether an interrupted attempt is there that would go on with the present inputs."""
        record = read_json(_partial(self.folder(stage, *unit)) / RECORD)
        return isinstance(record, dict) and record.get("inputs") == self._inputs(stage, unit)

    def is_complete(self, stage: str, *unit: str) -> bool:
        """Whether the unit is there and whole, made of what it would be made of now."""
        return self.folder(stage, *unit).is_dir() and not self.why_stale(stage, *unit)

    def seconds(self, stage: str, *unit: str) -> float:
        """Wall-clock seconds a complete unit took, interrupted attempts included."""
        return float(self.record(stage, *unit).get("seconds", 0.0))

    def require(self, stage: str, needed: str, *unit: str) -> None:
        """Checks that what ``stage`` needs is complete.

        Raises:
            UserError: If it is not.
        """
        if not self.is_complete(needed, *unit):
            why = "; ".join(self.why_stale(needed, *unit)) or "not there"
            raise problem(
                self.path,
                f"`{stage}` needs `{'/'.join((needed, *unit))}`: {why}",
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
        if not (folder / RECORD).is_file() and any(folder.iterdir()):
            raise problem(
                folder, "not a folder of this program", "no such folder", "choose another --out"
            )
        folder.rename(doomed)
        shutil.rmtree(doomed)

    @contextmanager
    def working(
        self, stage: str, unit: Sequence[str] = (), made: Mapping[str, Any] | None = None
    ) -> Iterator[Path]:
        """Yields the folder for a unit to write into, and completes the unit when it ends well.

        Args:
            stage: Name of the stage.
            unit: Names of the unit's folder within it.
            made: On what it is made, for its record.

        Yields:
            ``NAME.partial``, with what an interrupted attempt of the same inputs left.
        """
        final = self.folder(stage, *unit)
        partial = _partial(final)
        inputs = self._inputs(stage, unit)
        record = read_json(partial / RECORD)
        if not isinstance(record, dict) or record.get("inputs") != inputs:
            self._clear(partial)
            partial.mkdir(parents=True)
            record = {"inputs": inputs, "seconds": 0.0, "made": []}
        if made is not None and dict(made) not in record["made"]:
            if record["made"]:
                say_other_environment("/".join((stage, *unit)), record["made"][-1], made)
            record["made"].append(dict(made))
        write_json(partial / RECORD, record)
        _sweep(partial)
        start = time.perf_counter()
        try:
            yield partial
        finally:
            record["seconds"] = float(record["seconds"]) + time.perf_counter() - start
            write_json(partial / RECORD, record)
        record["files"] = sizes_of(partial)
        if stage == "pseudo-label":
            record["output"] = checksum_of_labels(partial)
        if look := look_of_weights(partial):
            record["weights"] = {"look": look, "sha256": checksum_of_file(partial / WEIGHTS)}
        write_json(partial / RECORD, record)
        self._clear(final)
        partial.rename(final)


def _partial(final: Path) -> Path:
    return final.with_name(f"{final.name}.partial")


def _sweep(folder: Path) -> None:
    """Deletes what a killed process was writing."""
    for path in sorted(folder.rglob(f"{TEMPORARY}*")):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
