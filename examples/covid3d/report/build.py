"""Puts the report together."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path

from examples.covid3d.files import read_csv, write_csv, write_text
from examples.covid3d.intensity import WindowedScanWarning
from examples.covid3d.prepare import load_sources
from examples.covid3d.report import html
from examples.covid3d.report.curves import draw_curves, draw_weights
from examples.covid3d.report.overlay import draw_overlay
from examples.covid3d.report.provenance import (
    caution,
    comparison,
    data_section,
    settings_section,
)
from examples.covid3d.report.summary import (
    GOOD,
    SCORES,
    Rows,
    Summary,
    label_of,
    summarise,
    verdict,
    weight_quality,
)
from examples.covid3d.stages import Context
from examples.covid3d.students import METHODS

TITLE = "COVID-19 lesions in chest CT: learning from a noisy teacher"


def _plus_minus(pair: tuple[float, float], digits: int) -> str:
    return f"{pair[0]:.{digits}f} ± {pair[1]:.{digits}f}"


def _table(summaries: list[Summary]) -> str:
    header = ("Method", "Dice ↑", "HD (mm) ↓", "HD95 (mm) ↓", "Missed cases", "False alarms")
    rows = [
        (
            label_of(s.method),
            _plus_minus(s.dice, 3),
            _plus_minus(s.hd, 1),
            _plus_minus(s.hd95, 1),
            f"{s.missed} of {s.with_lesion}",
            f"{s.false_alarms} of {s.scans - s.with_lesion}",
        )
        for s in summaries
    ]
    return html.table(header, rows)


def _by_scanner(metrics: Rows) -> list[str]:
    """Phantoms only: the same table for each scanner."""
    parts = []
    for prefix, name in (("expert_", "the experts' scanner"), ("hospital_", "the other scanner")):
        rows = [row for row in metrics if row["scan"].startswith(prefix)]
        if rows:
            count = len({row["scan"] for row in rows})
            parts += [
                html.paragraph(f"Only the {count} test scans of {name}:"),
                _table(summarise(rows)),
            ]
    return parts


def _pseudo_labels(rows: Rows) -> list[str]:
    known = [float(row["dice"]) for row in rows if row["dice"] != ""]
    if not known:
        return [html.paragraph("The unlabelled scans have no expert mask to compare with.")]
    cells = [
        (
            row["scan"],
            f"{float(row['dice']):.3f}" if row["dice"] else "unknown",
            f"{float(row['expert_ml']):.0f}" if row["expert_ml"] else "unknown",
            f"{float(row['pseudo_ml']):.0f}",
        )
        for row in rows
    ]
    mean = sum(known) / len(known)
    return [
        html.paragraph(
            f"Mean true Dice of the pseudo-labels {mean:.3f} over {len(known)} scans. The expert "
            "masks of these scans only tell how good the pseudo-labels are; no training sees them."
        ),
        html.table(("Scan", "True Dice", "Expert (ml)", "Pseudo-label (ml)"), cells),
    ]


def build_report(context: Context, folder: Path) -> None:
    """Writes ``report.html``, ``overlay.png``, ``curves.png``, ``weights_*.png`` and the CSV files.

    Args:
        context: Run folder and device.
        folder: Where to write.
    """
    run, evaluated = context.run, context.run.folder("evaluate")
    students = {method: run.folder("student") / method for method in context.config.methods}
    predictions = {method: evaluated / "predictions" / method for method in ("teacher", *students)}
    metrics = read_csv(evaluated / "metrics.csv")
    summaries = summarise(metrics)
    shutil.copyfile(evaluated / "metrics.csv", folder / "metrics.csv")
    write_csv(
        folder / "summary.csv",
        [
            {"method": s.method, "scans": s.scans, "dice": s.dice[0], "dice_std": s.dice[1]}
            | {"hd_mm": s.hd[0], "hd_mm_std": s.hd[1], "hd95_mm": s.hd95[0]}
            | {"hd95_mm_std": s.hd95[1], "missed": s.missed, "false_alarms": s.false_alarms}
            for s in summaries
        ],
    )
    with warnings.catch_warnings():
        # Said once already, when the scans were prepared.
        warnings.simplefilter("ignore", WindowedScanWarning)
        draw_overlay(
            load_sources(run.folder("prepare"), "test"),
            predictions,
            context.config,
            folder / "overlay.png",
        )
    draw_curves({"teacher": run.folder("teacher"), **students}, folder / "curves.png")
    meanings = [
        html.paragraph(f"{METHODS[m].label}: {METHODS[m].meaning}.", "small") for m in students
    ]
    parts = [
        html.paragraph(caution(context.config), "note"),
        html.paragraph(verdict(summaries, metrics)),
        html.paragraph(comparison(context.config)),
        html.heading("Test scans"),
        _table(summaries),
        html.paragraph(
            "Mean ± standard deviation over test scans, each on its own voxel grid. HD is the "
            "Hausdorff distance, HD95 its 95th percentile. Both masks empty: Dice 1, HD 0; one "
            "empty: Dice 0, HD the diagonal of the volume. Missed: a lesion, and nothing found. "
            "False alarm: no lesion, and something found.",
            "small",
        ),
        *meanings,
        *_by_scanner(metrics if context.config.benchmark is None else []),
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
            "never see them; students that reweight are steered by them, so that for those the "
            "middle panel is not held-out data.",
        ),
        html.heading("Pseudo-labels"),
        *_pseudo_labels(read_csv(evaluated / "pseudo_labels.csv")),
    ]
    for method in students:
        samples_path = evaluated / f"samples_{method}.csv"
        samples = read_csv(samples_path) if samples_path.exists() else []
        figure = folder / f"weights_{method}.png"
        quality = weight_quality(method, samples)
        if quality is None or not draw_weights(method, samples, figure):
            continue
        parts += [
            html.heading(f"Weights: {label_of(method)}"),
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
    parts += [*data_section(context), *settings_section(context)]
    write_text(folder / "report.html", html.page(TITLE, parts))
