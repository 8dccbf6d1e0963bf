"""Every test scan of every method, with median and quartiles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from examples.covid3d.measure.report.figures import svg
from examples.covid3d.measure.report.statistics.measured import METRICS, Rows, number, rows_of


def distribution_panel(
    rows: Rows, methods: Sequence[str], metric: str, headline: str, labels: Mapping[str, str]
) -> str:
    """A lane for each method, a dot for each test scan, its mean over seeds.

    A distance to an empty mask is no distance: scans where one mask is empty are left out of
    metrics in millimetres, and counted in the lane's name.

    Args:
        rows: Rows of ``metrics.csv``.
        methods: Methods, in the order of the tables.
        metric: A key of ``METRICS``.
        headline: The method the report is about.
        labels: Names of the methods.

    Returns:
        A figure; empty where no method has a value.
    """
    kind = METRICS[metric]
    distance = kind.unit == "mm"
    values = {m: _by_scan(rows, m, metric, distance) for m in methods}
    every = [value for own, _ in values.values() for value in own.values()]
    if not every:
        return ""
    high = 1.0 if not distance else max(1.0, 1.03 * max(every))
    unit = f" ({kind.unit})" if kind.unit else ""
    lanes = svg.Lanes((0, high), f"{kind.label}{unit}", len(methods))
    said = []
    for lane, method in enumerate(methods):
        own, empty = values[method]
        hot = method == headline
        middle = f"median {np.median(list(own.values())):.{kind.digits}f}" if own else "none"
        if distance and empty:
            middle += f", {empty} empty"
        y = lanes.name(lane, labels[method], middle, strong=hot)
        said.append(f"{labels[method]}: {middle}")
        if not own:
            continue
        low, median, top = (
            lanes.x(float(v)) for v in np.percentile(list(own.values()), (25, 50, 75))
        )
        lanes.marks.append(svg.box(low, y - 8, top - low, 16, "bandhot" if hot else "band"))
        rng = np.random.default_rng(0)
        for scan, value in own.items():
            at = y + float(rng.uniform(-5, 5))
            says = f"{scan}: {value:.{kind.digits}f}"
            lanes.marks.append(svg.dot(lanes.x(value), at, "hot" if hot else "dot", says, 3.2))
        lanes.marks.append(svg.line(median, y - 9, median, y + 9, "markhot" if hot else "mark"))
    better = "higher" if kind.higher_is_better else "lower"
    caption = (
        f"A dot is a test scan; bar: median, band: middle half. {better.capitalize()} is better."
    )
    if distance:
        caption += " Only where both masks have voxels; the others are counted as empty."
    return svg.panel(
        f"{kind.label} of every test scan",
        caption,
        f"{kind.label} by method, over test scans. {'; '.join(said)}.",
        lanes.height,
        lanes.marks,
    )


def _by_scan(rows: Rows, method: str, metric: str, distance: bool) -> tuple[dict[str, float], int]:
    """Mean over seeds and folds by scan, and how many tests had one empty mask."""
    found: dict[str, list[float]] = {}
    empty = 0
    for (_, _, scan), row in rows_of(rows, method).items():
        if distance and (int(row["missed"]) or int(row["false_alarm"])):
            empty += 1
        else:
            found.setdefault(scan, []).append(number(row, metric))
    return {scan: float(np.mean(own)) for scan, own in found.items()}, empty
