"""The output folder: one JSON file per run, and what they have in common."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.errors import UserError
from benchmarks.files import write_text
from benchmarks.sets.setting import Setting
from benchmarks.trials.cells import Run
from benchmarks.trials.plans import Plan, task_plan
from benchmarks.trials.record import Record, from_json


class Store:
    """Records in ``FOLDER/runs``, and ``FOLDER/experiment.json``.

    Args:
        folder: The output folder; made when something is written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._runs = folder / "runs"
        self._about = folder / "experiment.json"

    def begin(self, plan: Plan, about: dict[str, Any]) -> None:
        """Note plan and machine.

        Raises:
            UserError: If the folder holds results of other settings, or cannot be written.
        """
        if self._about.exists():
            before = {task.name: task.setting for task in self.read_about()[0]}
            for task in plan:
                self._refuse_others(before.get(task.name, task.setting), task.setting)
        content = {"plan": [asdict(task) for task in plan], "about": about}
        try:
            self._runs.mkdir(parents=True, exist_ok=True)
            write_text(self._about, json.dumps(content, indent=2) + "\n")
        except OSError as error:
            raise UserError(f"--output {self.folder} cannot be written to: {error}.") from error

    def read_about(self) -> tuple[Plan, dict[str, Any]]:
        """Return what ``begin`` noted last.

        Raises:
            UserError: If there is no such note, or it is damaged.
        """
        try:
            content = json.loads(self._about.read_text(encoding="utf-8"))
            return tuple(map(task_plan, content["plan"])), dict(content["about"])
        except FileNotFoundError as error:
            raise UserError(
                f"{self.folder} holds no results (there is no {self._about.name}); give the "
                f"--output of an earlier run."
            ) from error
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(
                f"{self._about} is damaged ({error}); give another --output."
            ) from error

    def write(self, record: Record, setting: Setting) -> None:
        """Keep a record."""
        content = {"fingerprint": setting.fingerprint, **asdict(record)}
        write_text(self._runs / f"{record.run.name}.json", json.dumps(content, indent=1) + "\n")

    def read(self, plan: Plan) -> dict[Run, Record]:
        """Return all records of the plan's tasks.

        Raises:
            UserError: If one is damaged or of other settings.
        """
        fingerprints = {task.name: task.setting.fingerprint for task in plan}
        records = {}
        for path in sorted(self._runs.glob("*.json")):
            try:
                content = json.loads(path.read_text(encoding="utf-8"))
                fingerprint = content.pop("fingerprint")
                record = from_json(content)
            except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
                raise UserError(
                    f"{path} is damaged ({error}); delete it, and that run is made again."
                ) from error
            if fingerprint != fingerprints.get(record.run.cell.task, fingerprint):
                raise UserError(
                    f"{path} was made with other settings or data than the rest of its folder; "
                    f"delete it, or give another --output."
                )
            if record.run.cell.task in fingerprints:
                records[record.run] = record
        return records

    def _refuse_others(self, before: Setting, now: Setting) -> None:
        there, here = asdict(before), asdict(now)
        differing = [
            f"{name} {there[name]} there, {here[name]} here"
            for name in here
            if there[name] != here[name]
        ]
        if differing:
            raise UserError(
                f"--output {self.folder} holds results of other settings of {now.name} "
                f"({'; '.join(differing)}). Give another --output."
            )
