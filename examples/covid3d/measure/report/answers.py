"""The three questions of the first screen: who was trusted, were they right, did it help?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from examples.covid3d.measure.report.headline import Headline
from examples.covid3d.measure.report.statistics.measured import Rows
from examples.covid3d.measure.report.statistics.paired import (
    FEWEST_PATIENTS,
    Difference,
    difference,
    unpaired,
)
from examples.covid3d.measure.report.statistics.sentences import p_text, signed
from examples.covid3d.measure.report.statistics.summary import over_seeds
from examples.covid3d.measure.report.trust import Ranking, ScanTrust, ranking
from examples.covid3d.measure.report.weights import GOOD
from examples.covid3d.methods.rows import ROWS

Right = Literal["right", "wrong", "unclear", "unknown"]
"""Whether the good scans were trusted; ``unknown`` where no expert marked the scans."""

Help = Literal["helped", "helped here", "harmed", "harmed here", "unproven", "few", "alone"]
"""Whether Dice rose, over patients and over at least three seeds; ``here``: in the one or two that
there are; ``few``: too few patients for an interval, ``alone``: nothing to compare with."""

_SHOWN = 0.02
_LEVEL = 0.05


def _ends(ends: tuple[float, float], digits: int) -> str:
    return " to ".join(signed(end, digits) for end in ends)


def trusted(trusts: Sequence[ScanTrust]) -> str:
    """Which scans got most and least weight."""
    by_scan: dict[str, list[ScanTrust]] = {}
    for trust in trusts:
        by_scan.setdefault(trust.scan, []).append(trust)
    means = {scan: sum(t.weight for t in own) / len(own) for scan, own in by_scan.items()}
    order = sorted(means, key=lambda scan: (-means[scan], scan))
    first, last = order[0], order[-1]

    def told(scan: str) -> str:
        known = [t.dice for t in by_scan[scan] if t.dice is not None]
        truth = f", true Dice of its label {sum(known) / len(known):.2f}" if known else ""
        return f"{scan} ({means[scan]:.2f} times the average weight{truth})"

    return f"Most: {told(first)}. Least: {told(last)}."


def right(trusts: Sequence[ScanTrust]) -> tuple[Right, str]:
    """Whether the better pseudo-labels had more weight, and the numbers behind the answer."""
    found = ranking(trusts)
    if found is None:
        return "unknown", "No expert marked the unlabelled scans, so that nobody knows."
    correlation = _correlation(found)
    if found.auroc is None:
        which = "bad" if not found.bad else "good"
        answer = _sure(found.correlation_interval, 0.0)
        return answer, f"None of the {found.scans} pseudo-labels is {which}. {correlation}"
    text = (
        f"Of a scan with a good pseudo-label (true Dice at least {GOOD:g}) and one with a bad one, "
        f"the good one had more weight in {found.auroc:.0%} of the pairs (AUROC {found.auroc:.2f}"
    )
    if found.interval:
        low, high = found.interval
        text += f", 95\N{NO-BREAK SPACE}% interval {low:.2f} to {high:.2f}; chance is 0.50). "
    elif found.chance is not None:
        text += f"; all or nothing, which chance does with p {_p(found.chance)}). "
    else:
        text += f"; {found.good} good and {found.bad} bad are too few for an interval). "
    if found.chance is not None and found.chance < _LEVEL:
        return "right" if found.auroc == 1 else "wrong", text + correlation
    return _sure(found.interval, 0.5), text + correlation


def _p(p: float) -> str:
    text = p_text(p)
    return text if text.startswith("<") else f"= {text}"


def _sure(interval: tuple[float, float] | None, chance: float) -> Right:
    if interval is None:
        return "unclear"
    if interval[0] > chance:
        return "right"
    return "wrong" if interval[1] < chance else "unclear"


def _correlation(found: Ranking) -> str:
    if found.correlation is None:
        return ""
    return (
        f"Rank correlation of weight and true Dice: {signed(found.correlation, 2)} "
        f"({found.scans} scans)."
    )


@dataclass(frozen=True)
class Gain:
    """Whether a row beats its control.

    Attributes:
        answer: The answer.
        short: The difference, for a headline.
        text: The numbers behind it.
    """

    answer: Help
    short: str
    text: str


def helped(rows: Rows, about: Headline, labels: Mapping[str, str]) -> Gain:
    """Whether the row beats its control, and how the teacher and the oracle compare.

    Args:
        rows: Rows of ``metrics.csv``.
        about: The row and its control.
        labels: Names of the methods.
    """
    mean = over_seeds(rows, about.method, "dice").mean
    if about.control is None:
        short = f"mean Dice {mean:.3f}"
        return Gain("alone", short, f"Mean Dice {mean:.3f}; no other row was tested alike.")
    one = difference(rows, about.method, about.control)
    against = labels[about.control]
    control = over_seeds(rows, about.control, "dice").mean
    text = f"Dice {mean:.3f} against {control:.3f} of {against}"
    short = f"Dice {signed(one.patient_mean)} against {against}"
    if one.interval is None:
        people = "one patient" if one.patients == 1 else f"{one.patients} patients"
        few = f"; {people}, fewer than {FEWEST_PATIENTS}: no interval."
        return Gain("few", short, text + few)
    interval = f"95\N{NO-BREAK SPACE}% interval {_ends(one.interval, 3)}"
    text += f" ({signed(one.patient_mean)}; {interval} over {one.patients} patients)."
    if one.beyond_seeds is False:
        text += f" From seed to seed it changes by as much ({one.std:.3f})."
    elif one.beyond_seeds is None:
        seeds = "one seed" if one.seeds == 1 else f"{one.seeds} seeds"
        text += f" With {seeds}, what training again would change is not known."
    else:
        text += f" From seed to seed it changes by less ({one.std:.3f}; {one.seeds} seeds)."
    return Gain(_answer(one), f"{short} ({interval})", text + _beside(rows, about, one, labels))


def _answer(one: Difference) -> Help:
    if one.interval is None:
        return "few"
    low, high = one.interval
    if one.beyond_seeds is False or low <= 0 <= high:
        return "unproven"
    if one.beyond_seeds is None:
        return "helped here" if low > 0 else "harmed here"
    return "helped" if low > 0 else "harmed"


def _beside(rows: Rows, about: Headline, one: Difference, labels: Mapping[str, str]) -> str:
    """The floor and the ceiling: the teacher, and the row that is told the truth."""
    text = ""
    for method in about.beside:
        if method in (about.method, about.control):
            continue
        if ROWS[method].recipe is None or ROWS[method].told:
            mean = over_seeds(rows, method, "dice").mean
            text += f" {labels[method]}: {mean:.3f}."
    for oracle in (method for method in about.beside if ROWS[method].told):
        if about.control is None or unpaired(rows, oracle, about.control) is not None:
            continue
        most = difference(rows, oracle, about.control).patient_mean
        if most > _SHOWN:
            text += f" Of what knowing the truth would gain, that is {one.patient_mean / most:.0%}."
        else:
            text += " Knowing the truth would itself gain next to nothing here."
    return text
