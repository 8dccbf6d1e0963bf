"""The figure of the first screen: who was trusted, and what it gained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from examples.covid3d.measure.report.figures import svg
from examples.covid3d.measure.report.statistics.measured import Rows
from examples.covid3d.measure.report.statistics.paired import Difference, difference, unpaired
from examples.covid3d.measure.report.statistics.sentences import signed
from examples.covid3d.measure.report.statistics.summary import over_seeds
from examples.covid3d.measure.report.trust import ScanTrust
from examples.covid3d.measure.report.weights import GOOD

_MOST_DOTS = 400


def trust_panel(trusts: Sequence[ScanTrust], label: str) -> str:
    """Weight of each unlabelled scan against the true Dice of its pseudo-label.

    Args:
        trusts: Scans; those without a known truth are left out.
        label: Name of the method.

    Returns:
        A figure; empty where no truth is known.
    """
    known = [(trust, trust.dice) for trust in trusts if trust.dice is not None]
    if not known:
        return ""
    top = max(1.5, *(1.08 * trust.weight for trust, _ in known))
    axes = svg.Axes(
        (-0.03, 1.03),
        (0, top),
        "true Dice of the scan's pseudo-label",
        "weight, 1 = the average scan's",
    )
    marks = [
        svg.line(axes.left, axes.y(1), axes.right, axes.y(1), "rule"),
        svg.line(axes.x(GOOD), axes.top, axes.x(GOOD), axes.bottom, "rule"),
        svg.text(axes.x(GOOD) - 5, axes.top + 4, "bad labels", "", "end"),
        svg.text(axes.x(GOOD) + 5, axes.top + 4, "good labels"),
    ]
    several = len({trust.replicate for trust, _ in known}) > 1
    for kind in ("good", "bad") if len(known) > _MOST_DOTS else ():
        places = [
            (axes.x(dice), axes.y(trust.weight))
            for trust, dice in known
            if (dice >= GOOD) == (kind == "good")
        ]
        marks.append(svg.cloud(places, kind))
    for trust, dice in known if len(known) <= _MOST_DOTS else ():
        seed, fold = trust.replicate
        where = f" (seed {seed}, fold {fold})" if several else ""
        says = f"{trust.scan}{where}: true Dice {dice:.2f}, weight {trust.weight:.2f}"
        kind = "good" if dice >= GOOD else "bad"
        marks.append(svg.dot(axes.x(dice), axes.y(trust.weight), kind, says))
    good = [trust.weight for trust, dice in known if dice >= GOOD]
    bad = [trust.weight for trust, dice in known if dice < GOOD]
    says = f"Scatter plot of {len(known)} unlabelled scans. " + " ".join(
        f"{len(group)} with {kind} labels have {sum(group) / len(group):.2f} times the average "
        "weight."
        for kind, group in (("good", good), ("bad", bad))
        if group
    )
    caption = "A dot is an unlabelled scan. Right and high, or left and low, is rightly judged."
    if several:
        caption = "A dot is an unlabelled scan of one training." + caption.split(".", 1)[1]
    return svg.panel(f"Who was trusted: {label}", caption, says, axes.height, [*axes.marks, *marks])


def gain_panel(
    rows: Rows, beside: Sequence[str], control: str, headline: str, labels: Mapping[str, str]
) -> str:
    """Mean Dice of some rows, and how far each is from the control, with its interval.

    Args:
        rows: Rows of ``metrics.csv``.
        beside: Methods to show.
        control: The one they are compared with.
        headline: The one the report is about.
        labels: Their names.

    Returns:
        A figure.
    """
    found = {
        m: difference(rows, m, control)
        for m in beside
        if m != control and unpaired(rows, m, control) is None
    }
    shown = [m for m in beside if m in found or m == control]
    ends = [0.0, *(end for d in found.values() for end in (d.patient_mean, *(d.interval or ())))]
    low, high = min(ends), max(ends)
    pad = max(0.01, 0.06 * (high - low))
    title = "Did it help?"
    lanes = svg.Lanes((low - pad, high + pad), f"Dice, minus that of {labels[control]}", len(shown))
    marks = [svg.line(lanes.x(0), 0, lanes.x(0), lanes.height - 36, "rule")]
    said = []
    for lane, method in enumerate(shown):
        mean = over_seeds(rows, method, "dice").mean
        hot = method == headline
        y = lanes.name(lane, labels[method], f"Dice {mean:.3f}", strong=hot)
        said.append(f"{labels[method]}: mean Dice {mean:.3f}{_against(found.get(method))}.")
        if method not in found:
            marks.append(svg.dot(lanes.x(0), y, "dot"))
            continue
        one = found[method]
        if one.interval:
            a, b = (lanes.x(end) for end in one.interval)
            marks.append(svg.line(a, y, b, y, "rangehot" if hot else "range"))
        marks.append(svg.dot(lanes.x(one.patient_mean), y, "hot" if hot else "dot", said[-1], 5.5))
    with_interval = any(d.interval for d in found.values())
    caption = "Paired over test patients" + (
        "; the line is the 95 % interval of the mean."
        if with_interval
        else ", too few for an interval."
    )
    return svg.panel(title, caption, " ".join(said), lanes.height, [*lanes.marks, *marks])


def _against(one: Difference | None) -> str:
    if one is None:
        return ", the control"
    text = f", {signed(one.patient_mean)} against the control"
    if one.interval:
        text += f" (95 % interval {signed(one.interval[0])} to {signed(one.interval[1])})"
    return text
