"""What has been found so far, as it stands in ``results.json``."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.files import write_json
from benchmarks.gpu.cells import Cell
from benchmarks.gpu.filling import Filling
from benchmarks.gpu.library_tests import Tested
from benchmarks.gpu.measure import Found
from benchmarks.meta_step.unfinished import unfinished

NAME = "results.json"


@dataclass
class Record:
    """Everything found, in the order in which it was.

    Attributes:
        same: What a run that goes on must have in common: machine and settings, by name.
        command: As it was given.
        tested: What the library's tests said.
        fillings: By model.
        cells: Each with what was found.
        complete: Whether nothing is left to do.
    """

    same: dict[str, Any]
    command: str
    tested: Tested | None = None
    fillings: dict[str, Filling] = field(default_factory=dict)
    cells: list[tuple[Cell, Found]] = field(default_factory=list)
    complete: bool = False

    def found(self, cell: Cell) -> Found | None:
        """Return what is known of a cell."""
        return next((found for known, found in self.cells if known == cell), None)

    def add(self, cell: Cell, found: Found) -> None:
        """Note what was found, in place of what was known of that cell, unless that was more."""
        before = self.found(cell)
        if before is not None and found.short and before.known >= found.known:
            return
        self.cells = [(known, each) for known, each in self.cells if known != cell]
        self.cells.append((cell, found))

    def write(self, folder: Path) -> None:
        """Write the file, whole or not at all."""
        results: list[dict[str, Any]] = []
        if self.tested is not None:
            results.append({"kind": "tests", **self.tested.as_json()})
        results += [{"kind": "filling", **each.as_json()} for each in self.fillings.values()]
        results += [
            {"kind": "cell", "cell": cell.as_json(), "found": found.as_json()}
            for cell, found in self.cells
        ]
        content = {"complete": self.complete, "command": self.command, **self.same}
        write_json(folder / NAME, {**content, "results": results})

    @classmethod
    def read(cls, folder: Path, same: dict[str, Any], command: str) -> Record:
        """Return what an unfinished run of the same settings has left, or an empty record.

        Raises:
            ValueError: If there is a file of that name that is not one of ours.
        """
        record = cls(same, command)
        try:
            for result in unfinished(folder, same, NAME):
                record._take(dict(result))
        except (KeyError, TypeError) as error:
            raise ValueError(
                f"{folder / NAME} is not a result of this benchmark ({error!r}). Move it away, or "
                f"give another folder."
            ) from error
        return record

    def _take(self, result: dict[str, Any]) -> None:
        kind = result.pop("kind")
        if kind == "tests":
            self.tested = Tested(**result)
        elif kind == "filling":
            self.fillings[result["model"]] = Filling(**result)
        else:
            cell = Cell(**{**result["cell"], "methods": tuple(result["cell"]["methods"])})
            self.cells.append((cell, Found.from_json(result["found"])))
