"""What a list of suspicious labels is worth."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from scipy.stats import rankdata
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Found:
    """What one way of finding wrong labels says.

    Attributes:
        quality: ``(n,)``: the lower, the more suspicious.
        suggested: ``(n,)``: the label each should have; ``None`` if it says nothing of that.
    """

    quality: Tensor
    suggested: Tensor | None = None


def measure(found: Found, given: Tensor, truth: Tensor) -> dict[str, float]:
    """Return how well the wrong labels were found, all from 0 to 1.

    Args:
        found: What is judged. A quality that is not a number counts as the least suspicious.
        given: ``(n,)`` labels.
        truth: ``(n,)`` what they should be; some differ, some do not.

    Returns:
        ``auroc``; ``precision``, averaged over the list; ``at_number``, precision in the first as
        many as there are wrong labels; and, where labels are suggested, ``suggested``: the share
        of all wrong labels for which the one suggested is right.
    """
    wrong = given != truth
    suspicion = -found.quality.double().nan_to_num(nan=float("inf"))
    result = {
        "auroc": auroc(suspicion, wrong),
        "precision": average_precision(suspicion, wrong),
        "at_number": precision_at(suspicion, wrong, int(wrong.sum())),
    }
    if found.suggested is not None:
        result["suggested"] = float((found.suggested[wrong] == truth[wrong]).double().mean())
    return result


def auroc(suspicion: Tensor, wrong: Tensor) -> float:
    """Return the chance that a wrong label is more suspicious than a right one; ties count half."""
    ranks = torch.from_numpy(rankdata(suspicion.numpy()))
    positive, negative = int(wrong.sum()), int((~wrong).sum())
    least = positive * (positive + 1) / 2
    return float(ranks[wrong].sum() - least) / (positive * negative)


def average_precision(suspicion: Tensor, wrong: Tensor) -> float:
    """Return Σ (R_k − R_{k−1}) P_k over the list, its ties in one step, as scikit-learn has it."""
    levels, level = torch.unique(suspicion, return_inverse=True)
    of_level = torch.bincount(level, minlength=len(levels)).flip(0).double()
    hits = torch.bincount(level, weights=wrong.double(), minlength=len(levels)).flip(0)
    precision = hits.cumsum(0) / of_level.cumsum(0)
    return float((hits * precision).sum() / hits.sum())


def precision_at(suspicion: Tensor, wrong: Tensor, count: int) -> float:
    """Return which share of the ``count`` most suspicious labels is wrong."""
    first = suspicion.argsort(descending=True, stable=True)[:count]
    return float(wrong[first].double().mean())
