"""Numbers of the report: means and deviations over test scans."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from examples.covid3d.students import METHODS

Rows = Sequence[dict[str, str]]


def label_of(method: str) -> str:
    """Name of a method, or of the teacher, in tables and figures."""
    return "Teacher" if method == "teacher" else METHODS[method].label


@dataclass(frozen=True)
class Summary:
    """One method over a set of test scans; ``(mean, standard deviation)``, distances in mm.

    The deviation is that over scans with n - 1 in the denominator, 0 for a single scan.
    """

    method: str
    scans: int
    dice: tuple[float, float]
    hd: tuple[float, float]
    hd95: tuple[float, float]
    missed: int
    with_lesion: int
    false_alarms: int


def _spread(values: list[float]) -> tuple[float, float]:
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    return float(np.mean(values)), deviation


def summarise(rows: Rows) -> list[Summary]:
    """Summarises the rows of ``metrics.csv``, methods in their order of appearance."""
    summaries = []
    for method in dict.fromkeys(row["method"] for row in rows):
        own = [row for row in rows if row["method"] == method]
        summaries.append(
            Summary(
                method,
                len(own),
                _spread([float(row["dice"]) for row in own]),
                _spread([float(row["hd_mm"]) for row in own]),
                _spread([float(row["hd95_mm"]) for row in own]),
                sum(int(row["missed"]) for row in own),
                sum(float(row["expert_ml"]) > 0 for row in own),
                sum(int(row["false_alarm"]) for row in own),
            )
        )
    return summaries


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
    steps: dict[str, bool] = {}
    for row in samples:
        steps[row["step"]] = steps.get(row["step"], False) or float(row["weight"]) > 0
    return WeightQuality(
        method,
        float(good.mean()),
        float(weights[good].sum() / weights.sum()),
        float((weights > 0).mean()),
        sum(not kept for kept in steps.values()),
        {key: _concordance(known, key) for key in SCORES if key in known[0]},
    )


def _concordance(samples: Rows, key: str) -> float:
    """Share of pairs within a batch in which the sample of higher true Dice has more of ``key``."""
    step = np.array([int(row["step"]) for row in samples])
    dice = np.array([float(row["pseudo_dice"]) for row in samples])
    score = np.array([float(row[key]) for row in samples])
    agree, pairs = 0.0, 0
    for one in np.unique(step):
        d, s = dice[step == one], score[step == one]
        better = d[:, None] - d > _CLEARLY
        # Two samples that were both dropped have the same weight: neither right nor wrong.
        agree += float((better * (0.5 + 0.5 * np.sign(s[:, None] - s))).sum())
        pairs += int(better.sum())
    return agree / pairs if pairs else 0.5


def verdict(summaries: Sequence[Summary], rows: Rows) -> str:
    """Says in plain words how the reweighted student compares with equal weights."""
    by_method = {summary.method: summary for summary in summaries}
    best = max(summaries, key=lambda summary: summary.dice[0])
    if not {"equal", "rgsm_al"} <= set(by_method):
        return f"The highest mean Dice, {best.dice[0]:.3f}, is that of: {label_of(best.method)}."
    ours, equal, teacher = by_method["rgsm_al"], by_method["equal"], by_method["teacher"]
    dice = {(row["method"], row["scan"]): float(row["dice"]) for row in rows}
    scans = [row["scan"] for row in rows if row["method"] == "rgsm_al"]
    gains = np.array([dice["rgsm_al", scan] - dice["equal", scan] for scan in scans])
    difference = float(gains.mean())
    if abs(difference) < 0.005:
        first = "RGS&M+AL and equal weights came out level"
    else:
        first = f"RGS&M+AL came out {'above' if difference > 0 else 'below'} equal weights"
    spread = float(gains.std(ddof=1)) if len(gains) > 1 else 0.0
    # Two standard errors; with one scan there is no telling at all.
    uncertain = len(gains) < 2 or abs(difference) < 2 * spread / len(gains) ** 0.5
    doubt = " So few scans can differ as much by chance alone." if uncertain else ""
    return (
        f"{first}: mean Dice {ours.dice[0]:.3f} against {equal.dice[0]:.3f}, the teacher "
        f"{teacher.dice[0]:.3f}. The difference scan by scan is {difference:+.3f} ± {spread:.3f} "
        f"(mean ± standard deviation), for RGS&M+AL by more than 0.005 on "
        f"{int((gains > 0.005).sum())} of {len(scans)} scans and against it on "
        f"{int((gains < -0.005).sum())}. The highest mean Dice is that of: "
        f"{label_of(best.method)}.{doubt}"
    )
