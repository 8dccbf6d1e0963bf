"""What the numbers say, in plain words, whoever wins."""

from __future__ import annotations

from examples.covid3d.measure.report.results import LABELS, Results
from examples.covid3d.measure.report.statistics.measured import rows_of
from examples.covid3d.measure.report.statistics.paired import difference, unpaired
from examples.covid3d.measure.report.statistics.sentences import say
from examples.covid3d.measure.report.statistics.summary import over_seeds

REFERENCES = ("supervised", "equal", "random", "supervised-all", "supervised-all-long")
"""Rows that every other is compared with, where they were run."""

_QUESTIONS = (
    ("rgsm-al", "equal"),
    ("rgsm-al", "random"),
    ("rgsm-al", "supervised"),
    ("rgsm-al", "supervised-all"),
    ("rgsm-al-trusted", "equal-trusted"),
    ("best", "supervised-all-long"),
    ("best-agreeing", "best"),
)


def verdict(results: Results) -> list[str]:
    """Sentences: how the paper's method and the best row compare with the controls.

    Args:
        results: What was measured.

    Returns:
        One sentence for each comparison that can be made, and one on the highest mean.
    """
    tested = set(results.methods)
    sentences = [
        say(difference(results.metrics, a, b), LABELS)
        for a, b in _QUESTIONS
        if {a, b} <= tested and unpaired(results.metrics, a, b) is None
    ]
    tests = {m: len(rows_of(results.metrics, m)) for m in results.methods}
    # A mean over fewer test scans is of other, perhaps easier, ones.
    fair = [m for m in results.methods if tests[m] == max(tests.values())]
    means = {m: over_seeds(results.metrics, m, "dice").mean for m in fair}
    highest = max(means, key=lambda method: means[method])
    return [
        *sentences,
        f"The highest mean Dice, {means[highest]:.3f}, is that of: {LABELS[highest]}.",
    ]
