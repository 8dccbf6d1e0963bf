"""Everything the evaluation left, gathered for the report."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from examples.covid3d.common.errors import problem
from examples.covid3d.common.files import read_csv, read_json
from examples.covid3d.measure.evaluate import judge_pseudo_labels
from examples.covid3d.methods.rows import ROWS
from examples.covid3d.run.context import Context
from examples.covid3d.scans.splits import Replicate

Lines = list[dict[str, str]]

LABELS = {name: row.label for name, row in ROWS.items()}
"""Names of the rows in tables and figures."""


@dataclass(frozen=True, eq=False)
class Results:
    """What was measured.

    Attributes:
        context: Run folder and settings.
        replicates: Every seed and fold.
        methods: Rows that were evaluated, in the order of the tables.
        metrics: Lines of ``metrics.csv`` of all of them.
        training: Seconds and steps of each training.
        pseudo_labels: Each pseudo-labelled scan with its true Dice, where known.
    """

    context: Context
    replicates: list[Replicate]
    methods: list[str]
    metrics: Lines
    training: Lines
    pseudo_labels: Lines

    def samples(self, method: str) -> Lines:
        """Every weight that a row gave, with the true Dice of the pseudo-label where known."""
        found: Lines = []
        for replicate in self.replicates:
            path = self.evaluated(replicate, method) / "samples.csv"
            found += read_csv(path) if path.exists() else []
        return found

    def evaluated(self, replicate: Replicate, method: str) -> Path:
        """Folder of a row's evaluation."""
        return self.context.run.folder("evaluate", replicate.name, method)


def _text(row: dict[str, Any]) -> dict[str, str]:
    return {key: str(value) for key, value in row.items()}


def gather(context: Context) -> Results:
    """Reads the evaluation of every row that is complete.

    Raises:
        UserError: If there is none.
    """
    replicates = context.replicates()
    run = context.run
    external = [name for name, row in ROWS.items() if row.external]
    imported = {
        name
        for name in external
        if any(run.is_complete("evaluate", one.name, name) for one in replicates)
    }
    wanted = (set(context.config.methods) - set(external)) | imported
    methods = [name for name in ROWS if name in wanted]
    if not methods:
        raise problem(
            "--methods",
            f"{', '.join(context.config.methods)}, of which nothing was measured",
            "at least one row with results",
            "add a row that is trained here, or import predictions with import-nnunet",
        )
    metrics: Lines = []
    training: Lines = []
    pseudo: Lines = []
    for replicate in replicates:
        pseudo += [_text(row) for row in judge_pseudo_labels(context, replicate)]
        for method in methods:
            folder = run.folder("evaluate", replicate.name, method)
            if method in external and not run.is_complete("evaluate", replicate.name, method):
                continue
            metrics += read_csv(folder / "metrics.csv")
            head = {"seed": replicate.seed, "fold": replicate.fold, "method": method}
            timing = read_json(folder / "training.json")
            if timing:
                training.append(_text(head | timing))
    return Results(context, replicates, methods, metrics, training, pseudo)
