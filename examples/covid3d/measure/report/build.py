"""Puts the report together."""

from __future__ import annotations

import warnings
from html import escape
from pathlib import Path

from examples.covid3d.common.files import write_csv, write_text
from examples.covid3d.measure.evaluate import entries_of, trained_in
from examples.covid3d.measure.report.cases.section import cases_section
from examples.covid3d.measure.report.figures.curves import draw_curves
from examples.covid3d.measure.report.figures.distributions import distribution_panel
from examples.covid3d.measure.report.figures.overlay import draw_overlay
from examples.covid3d.measure.report.figures.trusted import gain_panel, trust_panel
from examples.covid3d.measure.report.figures.volumes import volume_panels
from examples.covid3d.measure.report.headline import Headline, headline
from examples.covid3d.measure.report.page import html
from examples.covid3d.measure.report.provenance import (
    caution,
    data_section,
    settings_section,
    unlike_trainings,
)
from examples.covid3d.measure.report.results import LABELS, Results, gather
from examples.covid3d.measure.report.rows_section import rows_section
from examples.covid3d.measure.report.tables.chosen import tables_of
from examples.covid3d.measure.report.verdict import Verdict, verdict
from examples.covid3d.measure.report.weights_section import pseudo_labels, weights_section
from examples.covid3d.methods.rows import ROWS
from examples.covid3d.run.context import Context

TITLE = "Learning from a noisy teacher: segmentation under sample weights"


def _first_screen(results: Results, about: Headline, said: Verdict) -> list[str]:
    """The answer, the three questions, and the one figure that supports it."""
    trust = trust_panel(about.trusts, LABELS[about.method]) if about.trusts else ""
    gain = (
        gain_panel(results.metrics, about.beside, about.control, about.method, LABELS)
        if about.control is not None
        else ""
    )
    figure = [part for part in (trust, gain) if part] or [
        distribution_panel(results.metrics, results.methods, "dice", about.method, LABELS)
    ]
    notes = (caution(results.context.config), unlike_trainings(results))
    told = [html.paragraph(note, "note") for note in notes if note]
    return [
        f'<p class="answer">{escape(said.answer)}</p>',
        html.block(
            "first",
            [
                html.facts(said.facts),
                html.block("figure", [html.block("panels", figure), *told]),
            ],
        ),
    ]


def _distributions(results: Results, about: Headline) -> list[str]:
    metrics, methods = results.metrics, results.methods
    panels = [
        distribution_panel(metrics, methods, metric, about.method, LABELS)
        for metric in ("dice", "nsd", "hd95_mm")
    ]
    return [
        html.heading("Every test scan"),
        html.block("panels", [panel for panel in panels if panel]),
        html.heading("Lesion volumes"),
        html.paragraph(
            "Bland–Altman plots: predicted minus expert's volume of each test scan, its mean over "
            "seeds. Solid: the bias; dashed: its limits of agreement, 1.96 standard deviations "
            "either way.",
            "small",
        ),
        html.block("panels", volume_panels(metrics, about.beside, about.method, LABELS)),
    ]


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
    names = ", ".join(LABELS[m] for m in predictions)
    return [
        html.heading("What they look like"),
        html.picture(
            folder / "overlay.png",
            "Axial slices, each scan where the expert marked most; front up, the patient's right "
            "on the left.",
            f"Test scans in columns; in rows the scan, the expert's outline, and the masks of "
            f"{names}, with false positives in blue and what was missed in yellow.",
        ),
        html.heading("Training"),
        html.picture(
            folder / "curves.png",
            "The trusted scans train neither the teacher nor the student with equal weights, which "
            "never see them; students that reweight are steered by them, and some rows train on "
            "them, so that for those the middle panel is not held-out data. "
            f"Shown: seed {first.seed}, fold {first.fold}.",
            "Curves against the training step: loss, Dice on the trusted scans, samples kept.",
        ),
    ]


def build_report(context: Context, folder: Path) -> None:
    """Writes ``report.html``, ``tables.md``, a CSV for each table, and the figures.

    Args:
        context: Run folder and device.
        folder: Where to write.
    """
    results = gather(context)
    about = headline(results)
    write_csv(folder / "metrics.csv", results.metrics)
    write_csv(folder / "training.csv", results.training)
    write_csv(folder / "pseudo_labels.csv", results.pseudo_labels)
    said = verdict(results, about)
    write_text(folder / "verdict.txt", "\n".join(said.lines()) + "\n")
    tables = tables_of(results)
    for name, table in tables.items():
        write_csv(folder / f"{name}.csv", table.to_csv_rows())
    markdown = "\n".join(table.to_markdown() for table in tables.values())
    bullets = "\n".join(f"- {line}" for line in said.lines())
    write_text(folder / "tables.md", f"{bullets}\n\n{markdown}")
    with warnings.catch_warnings():
        # Said once already, when the scans were prepared.
        warnings.simplefilter("ignore")
        cases = cases_section(results, about)
        pictures = _pictures(results, folder)
    parts = [
        *_first_screen(results, about, said),
        *cases,
        *_distributions(results, about),
        *pseudo_labels(results.pseudo_labels),
        *weights_section(results),
        html.heading("Test scans"),
        html.bullets(said.comparisons),
        *(table.to_html() for table in tables.values()),
        html.paragraph(
            "Each scan on its own voxel grid. HD is the Hausdorff distance, HD95 its 95th "
            f"percentile, NSD the normalised surface Dice at {context.config.nsd_tolerance:g} mm. "
            "Both masks empty: Dice and NSD 1, HD 0; one empty: Dice and NSD 0, HD the diagonal of "
            "the volume.",
            "small",
        ),
        *rows_section(results),
        *pictures,
        *data_section(results),
        *settings_section(results),
    ]
    write_text(folder / "report.html", html.page(TITLE, parts))
