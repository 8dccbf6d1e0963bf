"""What the numbers say, in plain words, whoever wins: three questions, one answer, and the rest."""

from __future__ import annotations

from dataclasses import dataclass

from examples.covid3d.measure.report.answers import Help, Right, helped, right, trusted
from examples.covid3d.measure.report.headline import Headline
from examples.covid3d.measure.report.results import LABELS, Results
from examples.covid3d.measure.report.rival import beside_nnunet
from examples.covid3d.measure.report.statistics.measured import rows_of
from examples.covid3d.measure.report.statistics.paired import difference, unpaired
from examples.covid3d.measure.report.statistics.sentences import say
from examples.covid3d.measure.report.statistics.summary import over_seeds
from examples.covid3d.methods.rows import ROWS

REFERENCES = (
    "supervised", "equal", "equal-trusted", "random", "supervised-all", "supervised-all-long"
)  # fmt: skip
"""Rows that every other is compared with, where they were run."""

_QUESTIONS = (
    ("best-remembering", "equal-trusted"),
    ("best-remembering", "rgsm-al"),
    ("rgsm-al", "equal"),
    ("rgsm-al", "random"),
    ("rgsm-al", "supervised"),
    ("rgsm-al", "supervised-all"),
    ("rgsm-al-trusted", "equal-trusted"),
    ("best", "supervised-all-long"),
    ("best-agreeing", "best"),
)


@dataclass(frozen=True)
class Verdict:
    """What the first screen says.

    Attributes:
        answer: One sentence: were the right scans trusted, and did it help?
        facts: The questions, each with its answer and the numbers behind it.
        comparisons: A sentence for each pair of rows that one would ask about.
    """

    answer: str
    facts: tuple[tuple[str, str], ...]
    comparisons: tuple[str, ...]

    def lines(self) -> list[str]:
        """As text."""
        return [self.answer, *(f"{a} {b}" for a, b in self.facts), *self.comparisons]


def verdict(results: Results, about: Headline) -> Verdict:
    """Says whether the right scans were trusted and whether it helped.

    Args:
        results: What was measured.
        about: The row in question, and what it is compared with.
    """
    label = LABELS[about.method]
    gain = helped(results.metrics, about, LABELS)
    facts = [("Did it help?", gain.text)]
    seeds = len({row["seed"] for row in results.metrics})
    here = "this one training" if seeds == 1 else f"these {seeds} trainings"
    answer = _ALONE[gain.answer].format(label, here=here)
    if about.trusts:
        well, how_well = right(about.trusts)
        facts[:0] = [
            ("Who was trusted?", trusted(about.trusts)),
            ("Were they right?", how_well),
        ]
        if well != "unknown" and gain.answer != "alone":
            good = gain.answer.startswith("helped")
            joined = "and" if (well == "right") == good else "but"
            then = _HELPED[gain.answer].format(here=here)
            answer = f"{_TRUSTED[well].format(label)}, {joined} {then}"
    rival = beside_nnunet(results.metrics, results.methods, LABELS)
    comparisons = (*_comparisons(results), *rival, _highest(results))
    return Verdict(f"{answer}: {gain.short}.", tuple(facts), comparisons)


_TRUSTED: dict[Right, str] = {
    "right": "{} trusted the right scans",
    "wrong": "{} trusted the wrong scans",
    "unclear": "{} is not shown to tell good pseudo-labels from bad ones",
}
_HELPED: dict[Help, str] = {
    "helped": "it helped",
    "helped here": "it helped in {here}",
    "harmed": "it did worse",
    "harmed here": "it did worse in {here}",
    "unproven": "no gain is shown",
    "few": "whether it helped cannot be told from so few patients",
}
_ALONE: dict[Help, str] = {
    "helped": "{} helped",
    "helped here": "{} helped in {here}",
    "harmed": "{} did worse",
    "harmed here": "{} did worse in {here}",
    "unproven": "No gain of {} is shown",
    "few": "Whether {} helped cannot be told from so few patients",
    "alone": "{} stands alone",
}


def _comparisons(results: Results) -> list[str]:
    tested = set(results.methods)
    return [
        say(difference(results.metrics, a, b), LABELS)
        for a, b in _QUESTIONS
        if {a, b} <= tested and unpaired(results.metrics, a, b) is None
    ]


def _highest(results: Results) -> str:
    """The row with the highest mean, the one that is told the truth left out."""
    methods = [m for m in results.methods if not ROWS[m].told] or results.methods
    tests = {m: len(rows_of(results.metrics, m)) for m in methods}
    # A mean over fewer test scans is of other, perhaps easier, ones.
    fair = [m for m in methods if tests[m] == max(tests.values())]
    means = {m: over_seeds(results.metrics, m, "dice").mean for m in fair}
    highest = max(means, key=lambda method: means[method])
    return f"The highest mean Dice, {means[highest]:.3f}, is that of: {LABELS[highest]}."
