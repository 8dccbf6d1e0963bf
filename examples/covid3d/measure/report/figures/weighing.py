"""Weight against quality: patch by patch, and as training goes on."""

from __future__ import annotations

import numpy as np

from examples.covid3d.measure.report.figures import svg
from examples.covid3d.measure.report.weights import GOOD, Rows

_BINS = 5


def quality_panel(samples: Rows) -> str:
    """Mean weight by the true Dice of the pseudo-labelled patch; empty where none is known."""
    known = [row for row in samples if row["pseudo_dice"] != ""]
    dice = np.array([float(row["pseudo_dice"]) for row in known])
    weight = _relative(known)
    if weight is None:
        return ""
    bins = np.clip((dice * _BINS).astype(int), 0, _BINS - 1)
    means = [float(weight[bins == b].mean()) if (bins == b).any() else None for b in range(_BINS)]
    top = max(1.3, *(1.15 * mean for mean in means if mean is not None))
    axes = svg.Axes(
        (0, 1), (0, top), "true Dice of the pseudo-label, patch", "mean weight, 1 = the average"
    )
    said = []
    for b, mean in enumerate(means):
        count = int((bins == b).sum())
        middle = axes.x((b + 0.5) / _BINS)
        if mean is not None:
            says = f"Dice {b / _BINS:g} to {(b + 1) / _BINS:g}: weight {mean:.2f}, {count} patches"
            said.append(says)
            left, width = axes.x((b + 0.1) / _BINS), axes.x(0.8 / _BINS) - axes.x(0)
            kind = "good" if (b + 0.5) / _BINS >= GOOD else "bad"
            y = axes.y(mean)
            axes.marks.append(svg.box(left, y, width, axes.bottom - y, kind, says))
        at = axes.y(mean or 0) - 5
        axes.marks.append(svg.text(middle, at, f"n {count}", "", "middle"))
    axes.marks.append(svg.line(axes.left, axes.y(1), axes.right, axes.y(1), "rule"))
    return svg.panel(
        "By the quality of the patch",
        "Equal weights would be level at 1.",
        f"Bar chart of the mean weight. {'; '.join(said)}.",
        axes.height,
        axes.marks,
    )


def time_panel(samples: Rows, bins: int = 10) -> str:
    """Mean weight of good and of bad patches as training goes on; empty where none is known."""
    known = [row for row in samples if row["pseudo_dice"] != ""]
    weight = _relative(known)
    if weight is None:
        return ""
    good = np.array([float(row["pseudo_dice"]) >= GOOD for row in known])
    step = np.array([int(row["step"]) for row in known])
    part = np.minimum((step - step.min()) * bins // max(1, np.ptp(step) + 1), bins - 1)
    lines = {
        kind: [
            (float(step[part == b].mean()), float(weight[(part == b) & of].mean()))
            for b in range(bins)
            if ((part == b) & of).any()
        ]
        for kind, of in (("good", good), ("bad", ~good))
    }
    top = max(1.3, *(1.1 * y for line in lines.values() for _, y in line))
    axes = svg.Axes(
        (0, float(step.max()) or 1.0), (0, top), "training step", "mean weight, 1 = the average"
    )
    axes.marks.append(svg.line(axes.left, axes.y(1), axes.right, axes.y(1), "rule"))
    said = []
    for kind, line in lines.items():
        if not line:
            continue
        places = [f"{axes.x(x):.1f},{axes.y(y):.1f}" for x, y in line]
        axes.marks.append(f'<polyline points="{" ".join(places)}" class="line{kind}"/>')
        axes.marks += [svg.dot(axes.x(x), axes.y(y), kind, f"{y:.2f}", 3) for x, y in line]
        said.append(f"{kind} patches from {line[0][1]:.2f} to {line[-1][1]:.2f}")
    return svg.panel(
        "As training goes on",
        f"Line: good patches (true Dice at least {GOOD:g}); dashes: bad ones.",
        f"Mean weight over training: {'; '.join(said)}.",
        axes.height,
        axes.marks,
    )


def _relative(known: Rows) -> np.ndarray | None:
    weight = np.array([float(row["weight"]) for row in known])
    return weight / weight.mean() if len(weight) and weight.mean() > 0 else None
