"""Puts the report together."""

from __future__ import annotations

import warnings
from pathlib import Path
from statistics import median

from examples.covid3d.common.files import write_csv, write_text
from examples.covid3d.measure.evaluate import entries_of, trained_in
from examples.covid3d.measure.report import html
from examples.covid3d.measure.report.curves import draw_curves, draw_weights
from examples.covid3d.measure.report.markup import Table
from examples.covid3d.measure.report.overlay import draw_overlay
from examples.covid3d.measure.report.paper import TABLE2, TABLE3
from examples.covid3d.measure.report.provenance import (
    caution,
    comparison,
    data_section,
    settings_section,
)
from examples.covid3d.measure.report.results import LABELS, Lines, Results, gather
from examples.covid3d.measure.report.tables.differences import differences_table
from examples.covid3d.measure.report.tables.every_metric import all_metrics_table
from examples.covid3d.measure.report.tables.folds import folds_table
from examples.covid3d.measure.report.tables.papers import table4
from examples.covid3d.measure.report.tables.seeds import seeds_table
from examples.covid3d.measure.report.verdict import REFERENCES, verdict
from examples.covid3d.measure.report.weights import GOOD, SCORES, weight_quality
from examples.covid3d.methods.rows import ROWS
from examples.covid3d.run.context import Context

TITLE = "Learning from a noisy teacher: segmentation under sample weights"


def _tables(results: Results) -> dict[str, Table]:
    """The tables by the name of their CSV file."""
    metrics, methods = results.metrics, results.methods
    config = results.context.config
    found = {"all_metrics": all_metrics_table(metrics, results.training, methods, LABELS)}
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
        name = "source_" + "".join(c if c.isalnum() else "_" for c in source)
        found[name] = all_metrics_table(own, [], methods, LABELS, f"Only test scans of: {source}")
    return found


def _pseudo_labels(rows: Lines) -> list[str]:
    known = [float(row["dice"]) for row in rows if row["dice"] != ""]
    parts = [html.heading("Pseudo-labels")]
    if not known:
        text = "The unlabelled scans have no expert mask to compare with."
        return [*parts, html.paragraph(text)]
    known.sort()
    text = (
        f"True Dice of {len(known)} pseudo-labels: mean {sum(known) / len(known):.3f}, median "
        f"{median(known):.3f}, lowest {known[0]:.3f}, highest {known[-1]:.3f}. The expert "
        "masks of these scans only tell how good the pseudo-labels are; no training sees them."
    )
    return [*parts, html.paragraph(text)]


def _weights(results: Results, folder: Path) -> list[str]:
    parts = []
    for method in results.methods:
        samples = results.samples(method)
        figure = folder / f"weights_{method}.png"
        quality = weight_quality(method, samples) if samples else None
        if quality is None or not draw_weights(method, samples, figure):
            continue
        parts += [
            html.heading(f"Weights: {LABELS[method]}"),
            html.paragraph(
                f"{quality.good_samples:.1%} of the samples had a good pseudo-label (true Dice of "
                f"the patch at least {GOOD}); {quality.good_weight:.1%} of the weight fell on "
                f"them, where equal weights would put {quality.good_samples:.1%}. "
                f"{quality.kept:.1%} of the samples were kept; {quality.empty_steps} steps kept "
                "none and moved nothing."
            ),
            html.paragraph(
                "Of two samples of a batch, how often the one with the better pseudo-label has the "
                "higher value (chance is 50%): "
                + ", ".join(f"{SCORES[k]} {v:.1%}" for k, v in quality.concordance.items())
                + "."
            ),
            html.picture(figure, "Weights against the truth, which training did not know."),
        ]
    return parts


def _pictures(results: Results, folder: Path) -> list[str]:
    context, first = results.context, results.replicates[0]
    scans = [entry.scan(context.prepared) for entry in entries_of(context, first.roles["test"])]
    predictions = {
        method: results.evaluated(first, method) / "predictions"
        for method in results.methods
        if (results.evaluated(first, method) / "predictions").is_dir()
    }
    draw_overlay(scans, predictions, context.config, folder / "overlay.png")
    trained = {
        method: trained_in(context, first, method)
        for method in results.methods
        if not ROWS[method].external
    }
    logged = {m: path for m, path in trained.items() if (path / "steps.csv").exists()}
    draw_curves(logged, folder / "curves.png")
    return [
        html.heading("What they look like"),
        html.picture(
            folder / "overlay.png",
            "Axial slices, each scan where the expert marked most; front up, the patient's right "
            "on the left.",
        ),
        html.heading("Training"),
        html.picture(
            folder / "curves.png",
            "The trusted scans train neither the teacher nor the student with equal weights, which "
            "never see them; students that reweight are steered by them, and some rows train on "
            "them, so that for those the middle panel is not held-out data. "
            f"Shown: seed {first.seed}, fold {first.fold}.",
        ),
    ]


def _how(method: str, results: Results) -> tuple[str, str, str, str]:
    """What a row is, where it starts, how many steps it takes, and its learning rate."""
    row, config = ROWS[method], results.context.config
    if row.recipe is None:
        start = "elsewhere" if row.external else "scratch"
    else:
        start = row.start if row.start != "student" else config.student_start
    steps = sorted({int(line["steps"]) for line in results.training if line["method"] == method})
    shown = " to ".join(dict.fromkeys(str(n) for n in (steps[:1] + steps[-1:])))
    if start == "teacher":
        shown += ", after the teacher's"
    rate = f"{config.learning_rate * row.rate:g}, {row.schedule or config.schedule}"
    return row.meaning, start, shown or "–", "–" if row.external else rate


def _waiting(results: Results) -> str:
    seconds, waited = (
        sum(float(row[key]) for row in results.training) for key in ("seconds", "wait_seconds")
    )
    share = waited / seconds if seconds else 0.0
    return (
        f"Of {seconds:.0f} s of training steps (all rows, seeds and folds; validation not "
        f"counted), {share:.1%} were spent waiting for batches."
    )


def build_report(context: Context, folder: Path) -> None:
    """Writes ``report.html``, ``tables.md``, a CSV for each table, and the figures.

    Args:
        context: Run folder and device.
        folder: Where to write.
    """
    results = gather(context)
    write_csv(folder / "metrics.csv", results.metrics)
    write_csv(folder / "training.csv", results.training)
    write_csv(folder / "pseudo_labels.csv", results.pseudo_labels)
    sentences = verdict(results)
    write_text(folder / "verdict.txt", "\n".join(sentences) + "\n")
    tables = _tables(results)
    for name, table in tables.items():
        write_csv(folder / f"{name}.csv", table.to_csv_rows())
    markdown = "\n".join(table.to_markdown() for table in tables.values())
    bullets = "\n".join(f"- {line}" for line in sentences)
    write_text(folder / "tables.md", f"{bullets}\n\n{markdown}")
    with warnings.catch_warnings():
        # Said once already, when the scans were prepared.
        warnings.simplefilter("ignore")
        pictures = _pictures(results, folder)
    meanings = [(LABELS[m], ROWS[m].family, *_how(m, results)) for m in results.methods]
    config = context.config
    parts = [
        html.paragraph(caution(config), "note"),
        html.bullets(sentences),
        html.heading("Test scans"),
        *(table.to_html() for table in tables.values()),
        html.paragraph(
            "Each scan on its own voxel grid. HD is the Hausdorff distance, HD95 its 95th "
            f"percentile, NSD the normalised surface Dice at {config.nsd_tolerance:g} mm. Both "
            "masks empty: Dice and NSD 1, HD 0; one empty: Dice and NSD 0, HD the diagonal of the "
            "volume.",
            "small",
        ),
        html.heading("Rows"),
        html.paragraph(comparison(config)),
        html.table(("Row", "Kind", "What it is", "Starts from", "Steps", "Rate"), meanings, "text"),
        *pictures,
        *_pseudo_labels(results.pseudo_labels),
        *_weights(results, folder),
        *data_section(results),
        *settings_section(context),
        html.paragraph(_waiting(results), "small"),
    ]
    write_text(folder / "report.html", html.page(TITLE, parts))
