"""Whether weight went to the good pseudo-labels, where the truth is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Rows = Sequence[dict[str, str]]


@dataclass(frozen=True)
class WeightQuality:
    """Whether weight went to good pseudo-labels; a patch is good if its true Dice is at least 0.5.

    Attributes:
        method: The method.
        good_samples: Share of the samples that are good.
        good_weight: Share of the weight that fell on them; equal weights give ``good_samples``.
        kept: Mean share of a batch's samples that were kept.
        empty_steps: Steps that kept none.
        concordance: For the weight and each raw score: among pairs of samples of one batch whose
            true Dice differs, the share in which the better one has more; a half is chance.
    """

    method: str
    good_samples: float
    good_weight: float
    kept: float
    empty_steps: int
    concordance: dict[str, float]


GOOD = 0.5
"""True Dice from which a pseudo-labelled patch counts as good."""

SCORES = {
    "weight": "weight",
    "gradient_similarity": "gradient similarity",
    "last_layer_gradient": "last-layer gradient",
}
"""Columns of the samples' log that the report compares with the truth, and their names."""

_CLEARLY = 0.05


def weight_quality(method: str, samples: Rows) -> WeightQuality | None:
    """Judges weights by the truth; None where it is unknown or no weight was given."""
    known = [row for row in samples if row["pseudo_dice"] != ""]
    weights = np.array([float(row["weight"]) for row in known])
    if weights.sum() == 0:
        return None
    good = np.array([float(row["pseudo_dice"]) >= GOOD for row in known])
    steps: dict[tuple[str, ...], bool] = {}
    for row in samples:
        key = _step(row)
        steps[key] = steps.get(key, False) or float(row["weight"]) > 0
    return WeightQuality(
        method,
        float(good.mean()),
        float(weights[good].sum() / weights.sum()),
        float((weights > 0).mean()),
        sum(not kept for kept in steps.values()),
        {key: _concordance(known, key) for key in SCORES if known[0].get(key)},
    )


def _step(row: dict[str, str]) -> tuple[str, ...]:
    return row["seed"], row["fold"], row["step"]


def _concordance(samples: Rows, key: str) -> float:
    """Share of pairs within a batch in which the sample of higher true Dice has more of ``key``."""
    of_step: dict[tuple[str, ...], int] = {}
    step = np.array([of_step.setdefault(_step(row), len(of_step)) for row in samples])
    dice = np.array([float(row["pseudo_dice"]) for row in samples])
    score = np.array([float(row[key]) for row in samples])
    agree, pairs = 0.0, 0
    order = np.argsort(step, kind="stable")
    for batch in np.split(order, np.flatnonzero(np.diff(step[order])) + 1):
        d, s = dice[batch], score[batch]
        better = d[:, None] - d > _CLEARLY
        # Two samples that were both dropped have the same weight: neither right nor wrong.
        agree += float((better * (0.5 + 0.5 * np.sign(s[:, None] - s))).sum())
        pairs += int(better.sum())
    return agree / pairs if pairs else 0.5
