"""Agreement of lesion volumes: Bland and Altman's plot (1986)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from examples.covid3d.measure.report.figures import svg
from examples.covid3d.measure.report.statistics.measured import Rows, number, rows_of
from examples.covid3d.measure.report.statistics.sentences import signed


@dataclass(frozen=True)
class Agreement:
    """How the predicted volumes agree with the expert's.

    Attributes:
        scans: Names.
        means: Mean of both volumes of each scan, ml.
        differences: Predicted minus expert's, ml.
        bias: Mean difference, ml.
        limits: Bias ± 1.96 standard deviations, ml; None with fewer than three scans.
    """

    scans: tuple[str, ...]
    means: tuple[float, ...]
    differences: tuple[float, ...]
    bias: float
    limits: tuple[float, float] | None


def agreement(rows: Rows, method: str) -> Agreement:
    """Compares volumes, those of a scan averaged over seeds first."""
    volumes: dict[str, list[tuple[float, float]]] = {}
    for (_, _, scan), row in rows_of(rows, method).items():
        pair = number(row, "predicted_ml"), number(row, "expert_ml")
        volumes.setdefault(scan, []).append(pair)
    pairs = np.array([np.mean(own, axis=0) for own in volumes.values()])
    gaps = pairs[:, 0] - pairs[:, 1]
    bias = float(gaps.mean())
    limits = None
    if len(gaps) > 2:
        half = 1.96 * float(gaps.std(ddof=1))
        limits = bias - half, bias + half
    return Agreement(
        tuple(volumes),
        tuple(float(mean) for mean in pairs.mean(1)),
        tuple(float(gap) for gap in gaps),
        bias,
        limits,
    )


def volume_panels(
    rows: Rows, methods: Sequence[str], headline: str, labels: Mapping[str, str]
) -> list[str]:
    """A Bland–Altman plot for each method, all on the same scales.

    Args:
        rows: Rows of ``metrics.csv``.
        methods: Which ones.
        headline: The method the report is about.
        labels: Names of the methods.
    """
    found = {method: agreement(rows, method) for method in methods}
    widest = max(1e-3, *(mean for one in found.values() for mean in one.means))
    ends = [end for one in found.values() for end in (*one.differences, *(one.limits or ()), 0.0)]
    pad = 0.06 * (max(ends) - min(ends)) or 1.0
    across, up = (-0.02 * widest, 1.04 * widest), (min(ends) - pad, max(ends) + pad)
    return [_panel(one, labels[m], m == headline, across, up) for m, one in found.items()]


def _panel(
    one: Agreement,
    label: str,
    hot: bool,
    across: tuple[float, float],
    up: tuple[float, float],
) -> str:
    axes = svg.Axes(across, up, "mean of both volumes, ml", "predicted − expert's, ml")
    marks = [svg.line(axes.left, axes.y(0), axes.right, axes.y(0), "axis")]
    kind = "rangehot" if hot else "range"
    marks.append(svg.line(axes.left, axes.y(one.bias), axes.right, axes.y(one.bias), kind))
    marks += [
        svg.line(axes.left, axes.y(limit), axes.right, axes.y(limit), "rule")
        for limit in one.limits or ()
    ]
    for scan, mean, gap in zip(one.scans, one.means, one.differences, strict=True):
        says = f"{scan}: {signed(gap, 1)} ml at a mean of {mean:.1f} ml"
        marks.append(svg.dot(axes.x(mean), axes.y(gap), "hot" if hot else "dot", says))
    text = f"Bias {signed(one.bias, 1)} ml"
    if one.limits:
        text += f"; limits of agreement {signed(one.limits[0], 1)} to {signed(one.limits[1], 1)} ml"
    says = f"Bland-Altman plot of {len(one.scans)} test scans, {label}. {text}."
    return svg.panel(label, f"{text}.", says, axes.height, [*axes.marks, *marks])
