"""Which tables a run has, by the name of their CSV file."""

from __future__ import annotations

from examples.covid3d.measure.report.page.markup import Table
from examples.covid3d.measure.report.paper import TABLE2, TABLE3
from examples.covid3d.measure.report.results import LABELS, Results
from examples.covid3d.measure.report.tables.differences import differences_table
from examples.covid3d.measure.report.tables.every_metric import all_metrics_table
from examples.covid3d.measure.report.tables.folds import folds_table
from examples.covid3d.measure.report.tables.papers import table4
from examples.covid3d.measure.report.tables.seeds import seeds_table
from examples.covid3d.measure.report.verdict import REFERENCES
from examples.covid3d.methods.rows import ROWS


def tables_of(results: Results) -> dict[str, Table]:
    """The main table first; the paper's, folds, seeds and sources where there are several."""
    metrics, methods = results.metrics, results.methods
    config = results.context.config
    found = {"all_metrics": all_metrics_table(metrics, methods, LABELS)}
    if config.preset.startswith("experiment-1"):
        title = "Folds, in the layout of the paper's Table 3"
        found["table3"] = folds_table(metrics, methods, LABELS, paper=TABLE3, title=title)
        kinds = {name: row.family for name, row in ROWS.items()}
        found["table4"] = table4(metrics, methods, LABELS, kinds=kinds)
    elif config.preset.startswith("experiment-2"):
        title = "Folds, in the layout of the paper's Table 2"
        found["table2"] = folds_table(metrics, methods, LABELS, paper=TABLE2, title=title)
    elif config.folds > 1:
        found["folds"] = folds_table(metrics, methods, LABELS, title="Folds")
    if len(config.seeds) > 1:
        found["seeds"] = seeds_table(metrics, methods, LABELS)
    references = [name for name in REFERENCES if name in methods and len(methods) > 1]
    if references:
        found["differences"] = differences_table(metrics, methods, references, LABELS)
    sources = sorted({row["source"] for row in metrics})
    for source in sources if len(sources) > 1 else []:
        own = [row for row in metrics if row["source"] == source]
        # nnU-Net may have been imported for other folds alone.
        tested = [name for name in methods if any(row["method"] == name for row in own)]
        name = "source_" + "".join(c if c.isalnum() else "_" for c in source)
        title = f"Only test scans of: {source}"
        found[name] = all_metrics_table(own, tested, LABELS, title, explained=False)
    return found
