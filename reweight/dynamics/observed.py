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


def observed(context: WeightingContext, weights: Tensor) -> Tensor:
    """Return the columns of a step, ``(N, len(NAMES))``, float32.

    Args:
        context: The step's losses, and what is known of them.
        weights: ``(N,)``, relative: 1 is a weight like the average's.
    """
    losses = context.losses.detach().float()
    nothing = torch.zeros_like(losses)
    found = {"loss": losses, "weight": weights.float()}
    labels, margins = context.labels, context.margins
    if labels is not None and margins is not None:
        found["labelled"] = (~margins.isnan()).float()
        found["margin"] = margins.float().nan_to_num(0.0, LARGEST, -LARGEST)
        logits = context.logits
        if logits is not None:
            known = labels >= 0
            found |= _of_predictions(logits.float(), labels.clamp(min=0), known)
    if context.mixture.signed:
        found["similarity"] = context.score.float()
        found["negative"] = (context.score < 0).float()
        found["scored"] = torch.ones_like(losses)
    return torch.stack([found.get(name, nothing) for name in NAMES], dim=1)


def _of_predictions(logits: Tensor, labels: Tensor, known: Tensor) -> dict[str, Tensor]:
    logs = logits.log_softmax(dim=1)
    given = labels.unsqueeze(1)
    own = logs.gather(1, given).squeeze(1)
    other = logs.scatter(1, given, float("-inf")).amax(dim=1).exp()
    return {
        "predicted": known.float(),
        "log_probability": own.nan_to_num(0.0, LARGEST, -LARGEST) * known,
        "other": other.nan_to_num(0.0) * known,
    }
