"""How well a list of qualities finds the masks that are wrong."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from examples.covid3d.audit.trial.settings import SHARES, SOUND, TEACHER

EVERY, FAULTS_ALONE = "all kinds", "all but the teacher's"


def auroc(bad: NDArray[np.bool_], quality: NDArray[np.float64]) -> float:
    """Chance that a bad mask has a lower quality than a sound one, ties half; NaN without both."""
    bad_count, sound_count = int(bad.sum()), int((~bad).sum())
    if not bad_count or not sound_count or np.isnan(quality).any():
        return math.nan
    ranks = rankdata(-quality)
    above = ranks[bad].sum() - bad_count * (bad_count + 1) / 2
    return float(above / (bad_count * sound_count))


def precision(bad: NDArray[np.bool_], quality: NDArray[np.float64]) -> float:
    """Share of bad masks among the lowest qualities, as many as there are bad ones."""
    if np.isnan(quality).any() or not bad.any():
        return math.nan
    worst = np.argsort(quality, kind="stable")[: int(bad.sum())]
    return float(bad[worst].mean())


def found(quality: Mapping[str, float], kinds: Mapping[str, str]) -> dict[str, float]:
    """AUROC over all kinds of fault, without the teacher's, and of each kind against sound masks.

    Args:
        quality: Of each scan, higher for better.
        kinds: What is wrong with each.

    Returns:
        AUROC by kind; and ``precision``, ``precision without the teacher's`` at the true number.
    """
    names = list(quality)
    values = np.asarray([quality[name] for name in names], float)
    kind = np.asarray([kinds[name] for name in names])
    result = {}
    for title, among in (
        (EVERY, np.ones(len(kind), bool)),
        (FAULTS_ALONE, kind != TEACHER),
        *((one, (kind == one) | (kind == SOUND)) for one in SHARES),
    ):
        result[title] = auroc(kind[among] != SOUND, values[among])
    result["precision"] = precision(kind != SOUND, values)
    among = kind != TEACHER
    result["precision without the teacher's"] = precision(kind[among] != SOUND, values[among])
    return result
