"""What one step says of each of its losses, as numbers that can be averaged."""

from __future__ import annotations

import torch
from torch import Tensor

from reweight.weightings import WeightingContext

LARGEST = 1e6
"""What an infinite number counts as: a class may be ruled out by a logit of -inf."""

NAMES = (
    *("loss", "weight"),
    *("margin", "labelled"),
    *("log_probability", "other", "predicted"),
    *("similarity", "negative", "scored"),
)
"""The columns. ``labelled``, ``predicted`` and ``scored`` are 1 where the others of their line are
known, and those are 0 where not."""


def log_probabilities(context: WeightingContext) -> Tensor | None:
    """Return ``(N, K)``, float32, or ``None`` where the model's outputs are not known."""
    logits = context.logits
    return None if logits is None else logits.float().log_softmax(dim=1)


def observed(context: WeightingContext, weights: Tensor, logs: Tensor | None) -> Tensor:
    """Return the columns of a step, ``(N, len(NAMES))``, float32.

    Args:
        context: The step's losses, and what is known of them.
        weights: ``(N,)``, relative: 1 is a weight like the average's.
        logs: What :func:`log_probabilities` returned.
    """
    losses = context.losses.detach().float()
    nothing = torch.zeros_like(losses)
    found = {"loss": losses, "weight": weights.float()}
    labels, margins = context.labels, context.margins
    if labels is not None and margins is not None:
        # Infinite where a class is ruled out, NaN where none is given.
        margins = margins.float().clamp(-LARGEST, LARGEST)
        found["margin"], found["labelled"] = margins, (~margins.isnan()).float()
        if logs is not None:
            own = logs.gather(1, labels.clamp(min=0).unsqueeze(1)).squeeze(1).clamp(min=-LARGEST)
            found["predicted"] = found["labelled"]
            found["log_probability"] = own * found["labelled"]
            # A margin is a difference of logarithms too.
            found["other"] = (own - margins).exp()
    if context.mixture.signed:
        found["similarity"] = context.score.float()
        found["negative"] = (context.score < 0).float()
        found["scored"] = torch.ones_like(losses)
    columns = torch.stack([found.get(name, nothing) for name in NAMES], dim=1)
    return columns.nan_to_num(0.0, LARGEST, -LARGEST)
