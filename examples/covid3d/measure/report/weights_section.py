"""Weight against quality, for every row that weighs, where the truth is known."""

from __future__ import annotations

from statistics import median

from examples.covid3d.measure.report.figures.trusted import trust_panel
from examples.covid3d.measure.report.figures.weighing import quality_panel, time_panel
from examples.covid3d.measure.report.page import html
from examples.covid3d.measure.report.results import LABELS, Lines, Results
from examples.covid3d.measure.report.trust import ranking, trust_in
from examples.covid3d.measure.report.weights import GOOD, SCORES, weight_quality


def pseudo_labels(rows: Lines) -> list[str]:
    """How good the pseudo-labels are."""
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


def weights_section(results: Results) -> list[str]:
    """For each row that weighs: whether weight went to the good labels, and when."""
    parts: list[str] = []
    for method in results.methods:
        samples = results.samples(method)
        trusts = trust_in(samples, results.pseudo_labels)
        quality = weight_quality(method, samples) if trusts else None
        if quality is None:
            continue
        found = ranking(trusts)
        auroc = (
            f" Between scans, the AUROC of weight for good labels is {found.auroc:.2f}."
            if found is not None and found.auroc is not None
            else ""
        )
        parts += [
            html.heading(f"Weights: {LABELS[method]}"),
            html.paragraph(
                f"{quality.good_samples:.1%} of the samples had a good pseudo-label (true Dice of "
                f"the patch at least {GOOD}); {quality.good_weight:.1%} of the weight fell on "
                f"them, where equal weights would put {quality.good_samples:.1%}. "
                f"{quality.kept:.1%} of the samples were kept; {quality.empty_steps} steps kept "
                f"none and moved nothing.{auroc}"
            ),
            html.paragraph(
                "Of two samples of a batch, how often the one with the better pseudo-label has the "
                "higher value (chance is 50%): "
                + ", ".join(f"{SCORES[k]} {v:.1%}" for k, v in quality.concordance.items())
                + "."
            ),
            html.block(
                "panels",
                [
                    trust_panel(trusts, LABELS[method]),
                    quality_panel(samples),
                    time_panel(samples),
                ],
            ),
        ]
    return parts
