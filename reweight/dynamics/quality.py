"""How good a label is, and from where on it is an issue."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from reweight.dynamics.split import split

FLAT = 0.75
"""The share of the variance between the two halves of a flat distribution."""


def label_quality(
    losses: Tensor, log_probability: Tensor, other: Tensor, classes: int | None
) -> tuple[Tensor, Tensor]:
    """Return the quality of each label, in 0..1, and whether it is an issue.

    Args:
        losses: Mean losses, ``(rows,)``, NaN where never seen.
        log_probability: The mean logarithm of the probability of the class given; NaN where it is
            not known.
        other: The mean probability of the likeliest other class.
        classes: How many there are; ``None`` if the model's outputs are not known.

    Returns:
        Quality, NaN where nothing is known, below 0.5 exactly for issues; and issues, bool.
    """
    losses, log_probability = losses.double(), log_probability.double()
    by_class = classes is not None and bool((~log_probability.isnan()).any())
    evidence = log_probability if by_class else -losses
    known = ~evidence.isnan()
    quality = torch.full_like(losses, float("nan"))
    issues = torch.zeros_like(known)
    cut, between = split(evidence[known])
    if by_class:
        assert classes is not None
        # A label is called wrong only if its class had a probability near that of a guess, 1 / K.
        cut = min(cut, -2 / 3 * math.log(classes))
        given = log_probability[known].exp()
        raw = given / (given + other.double()[known]).clamp(min=torch.finfo(torch.float64).tiny)
    else:
        cut = cut if between > FLAT else -math.inf
        above = losses[known] - losses[known].min()
        raw = 1 / (1 + above / above.mean().clamp(min=torch.finfo(torch.float64).tiny))
    found, flagged = _stretched(raw, int((evidence[known] <= cut).sum()))
    quality[known], issues[known] = found, flagged
    return quality.float(), issues


def _stretched(raw: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return ``raw``, stretched so that its ``count`` smallest are those below 0.5, and which."""
    if count == 0:
        return 0.5 + 0.5 * raw, torch.zeros_like(raw, dtype=torch.bool)
    order = raw.argsort(stable=True)
    flagged = torch.zeros_like(raw, dtype=torch.bool)
    flagged[order[:count]] = True
    last = float(raw[order[count - 1]])
    cut = (last + float(raw[order[min(count, len(raw) - 1)]])) / 2
    below = 0.5 * raw / cut if cut > 0 else torch.zeros_like(raw)
    above = 0.5 + 0.5 * (raw - cut) / (1 - cut) if cut < 1 else torch.ones_like(raw)
    # Equal values on both sides of the cut are told apart by no more than a hair.
    return torch.where(flagged, below.clamp(0, 0.4999), above.clamp(0.5, 1)), flagged
