"""Tables and figures of the results there are."""

from __future__ import annotations

from benchmarks.errors import UserError
from benchmarks.files import write_figure, write_text
from benchmarks.label_noise.report.accuracy_figure import accuracy_figure
from benchmarks.label_noise.report.markdown import report_text
from benchmarks.label_noise.report.outcomes import outcomes
from benchmarks.label_noise.report.spreadsheets import cells_csv, results_csv
from benchmarks.label_noise.report.tuning_figure import tuning_figure
from benchmarks.label_noise.report.weights_figure import weights_figure
from benchmarks.label_noise.store import Store


def write_report(store: Store) -> str:
    """Write ``report.md``, two CSV files and the figures, and return a line to print.

    Raises:
        UserError: If there are no results, or damaged ones.
    """
    settings, plan, about = store.read_about()
    found = outcomes(plan, store.read(settings))
    folder = store.folder
    figures = {
        "accuracy.png": accuracy_figure(found, plan),
        "weights.png": weights_figure(found, plan),
        "tuning.png": tuning_figure(found, plan),
    }
    try:
        for name, figure in figures.items():
            write_figure(folder / name, figure)
        write_text(folder / "results.csv", results_csv(found))
        write_text(folder / "cells.csv", cells_csv(found))
        write_text(folder / "report.md", report_text(found, settings, plan, about, list(figures)))
    except OSError as error:
        raise UserError(f"the report cannot be written to {folder}: {error}.") from error
    return f"report: {folder / 'report.md'}"
