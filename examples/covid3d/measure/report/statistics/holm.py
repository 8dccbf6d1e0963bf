"""Holm's correction for many comparisons."""

from __future__ import annotations

from collections.abc import Iterable


def holm(p_values: Iterable[float | None]) -> list[float | None]:
    """Holm's (1979) correction of the p-values of one method compared with many.

    Args:
        p_values: One per comparison; None where there was no test, which counts as no comparison.

    Returns:
        Adjusted p-values in the same order, none below its own, none above 1.
    """
    given = list(p_values)
    ranked = sorted((p, index) for index, p in enumerate(given) if p is not None)
    adjusted: list[float | None] = [None] * len(given)
    largest = 0.0
    for rank, (p, index) in enumerate(ranked):
        largest = max(largest, min(1.0, p * (len(ranked) - rank)))
        adjusted[index] = largest
    return adjusted
