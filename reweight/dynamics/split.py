"""Cutting numbers in two groups where these differ most."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def split(values: Tensor) -> tuple[float, float]:
    """Return the largest number of the lower group, and how far the groups stand apart.

    The cut with the largest variance between the groups (Otsu 1979), at the numbers themselves
    rather than at the bins of a histogram.

    Args:
        values: ``(N,)``, finite.

    Returns:
        The cut, -inf where there are no two groups, and the variance between the groups as a share
        of the whole: 0.75 for the two halves of a flat distribution, 0.64 for those of a normal
        one, 1 for two points.
    """
    count = values.numel()
    if count < 2:
        return -math.inf, 0.0
    ordered = values.double().sort().values
    centred = ordered - ordered.mean()
    total = float(centred.square().mean())
    if total <= 0:
        return -math.inf, 0.0
    lower = torch.arange(1, count, dtype=torch.float64, device=values.device)
    sums = centred.cumsum(0)[:-1]
    # The means of the groups differ by sums/lower + sums/(count - lower), for all sum to zero.
    between = (sums / lower + sums / (count - lower)).square() * lower * (count - lower) / count**2
    at = int(between.argmax())
    if ordered[at] == ordered[at + 1]:
        return -math.inf, 0.0
    return float(ordered[at]), float(between[at]) / total
