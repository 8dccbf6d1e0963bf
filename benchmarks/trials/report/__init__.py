"""Tables and figures of the results there are."""

from __future__ import annotations

from benchmarks.errors import UserError
from benchmarks.files import write_figure, write_text
from benchmarks.trials.report.accuracy_figure import accuracy_figure
from benchmarks.trials.report.aims import Aims
from benchmarks.trials.report.markdown import report_text
from benchmarks.trials.report.outcomes import outcomes
from benchmarks.trials.report.spreadsheets import cells_csv, finding_csv, results_csv
from benchmarks.trials.report.tuning_figure import tuning_figure
from benchmarks.trials.report.weights_figure import weights_figure
from benchmarks.trials.store import Store

__all__ = ["Aims", "write_report"]


def write_report(store: Store, title: str, aims: Aims) -> str:
    """Write ``report.md``, CSV files and figures, and return a line to print.

    Raises:
        UserError: If there are no results, or damaged ones.
    """
    plan, about = store.read_about()
    records = store.read(plan)
    found = outcomes(plan, records)
    folder = store.folder
    figures = {
        "accuracy.png": accuracy_figure(found),
        "weights.png": weights_figure(found),
        "tuning.png": tuning_figure(found),
    }
    texts = {"results.csv": results_csv(found, records), "cells.csv": cells_csv(found)}
    if any(task.setting.finds for task in plan):
        texts["finding.csv"] = finding_csv(found)
    texts["report.md"] = report_text(title, found, aims, about, list(figures))
    try:
        for name, figure in figures.items():
            write_figure(folder / name, figure)
        for name, text in texts.items():
            write_text(folder / name, text)
    except OSError as error:
        raise UserError(f"the report cannot be written to {folder}: {error}.") from error
    return f"report: {folder / 'report.md'}"
