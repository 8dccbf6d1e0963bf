"""Comparisons in words: p-values, and a sentence on how two methods compare."""

from __future__ import annotations

from collections.abc import Mapping

from examples.covid3d.measure.report.statistics.measured import METRICS
from examples.covid3d.measure.report.statistics.paired import FEWEST_PATIENTS, Difference


def signed(value: float, digits: int = 3) -> str:
    """A difference in print, with a true minus and never as minus zero."""
    return f"{round(value, digits) + 0.0:+.{digits}f}".replace("-", "\N{MINUS SIGN}")


def p_text(p: float | None) -> str:
    """A p-value in print; "–" where there was no test."""
    if p is None:
        return "–"
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def say(found: Difference, names: Mapping[str, str]) -> str:
    """One sentence on how two methods compare, whoever wins.

    Args:
        found: The comparison.
        names: What to call the methods; a method that is not in it goes by its own name.

    Returns:
        Whether the first is above the second, by how much, over how many seeds, whether that is
        more than the spread between seeds, and the p-value over patients.
    """
    metric = METRICS[found.metric]
    a, b = names.get(found.a, found.a), names.get(found.b, found.b)
    unit = f" {metric.unit}" if metric.unit else ""
    smallest = f"{10.0**-metric.digits:.{metric.digits}f}{unit}"
    level = round(abs(found.mean), metric.digits) == 0
    if level:
        text = f"{a} and {b} are level in {metric.label} (less than {smallest} apart)"
    else:
        where = "above" if found.mean > 0 else "below"
        better = "" if metric.higher_is_better else " (lower is better)"
        size = f"{abs(found.mean):.{metric.digits}f}{unit}"
        text = f"{a} is {where} {b} in {metric.label} by {size}{better}"
    spread = f"{found.std:.{metric.digits}f}{unit}"
    if found.beyond_seeds is None:
        few = "one seed" if found.seeds == 1 else f"{found.seeds} seeds"
        text += f", with {few}, too few to tell it from the spread between seeds"
    elif found.beyond_seeds:
        text += f", over {found.seeds} seeds, more than the spread between seeds ({spread})"
    else:
        text += f", over {found.seeds} seeds, no more than the spread between seeds ({spread})"
        text += "" if level else ", so that other seeds may say otherwise"
    if found.wilcoxon is not None:
        p = p_text(found.wilcoxon)
        return (
            f"{text}; over {found.patients} patients p {p if p[0] == '<' else f'= {p}'} (Wilcoxon "
            f"signed-rank test; better for {found.better}, worse for {found.worse})."
        )
    if found.patients < FEWEST_PATIENTS:
        one = found.patients == 1
        return (
            f"{text}; {'one patient is' if one else f'{found.patients} patients are'} too few "
            "for a test."
        )
    return f"{text}; it is zero for every one of {found.patients} patients."
