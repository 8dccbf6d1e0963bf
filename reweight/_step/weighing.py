"""From the scorers of a mixture to checked scores, and from its weights to selected ones."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from reweight._dtypes import at_least_float32
from reweight._step.context import ScoringContext
from reweight.errors import check_finite
from reweight.normalize import normalize
from reweight.scorers import Mixture
from reweight.selectors import Selector
from reweight.weightings import Weighting, WeightingContext


def scores_by_name(mixture: Mixture, context: ScoringContext) -> dict[str, Tensor]:
    """Ask every scorer of ``mixture`` for its scores.

    Args:
        mixture: The scorers.
        context: The batch they score.

    Returns:
        Raw scores by scorer name, in the mixture's order: each in the shape of the losses, detached
        and in float32 or wider; zero where a loss does not count.

    Raises:
        ValueError: If a scorer returns something else than a tensor of the losses' shape.
        NonFiniteError: If a score is not finite.
    """
    names = mixture.names()
    scorers = mixture.scorers
    for scorer in scorers:
        scorer.prepare(context)
    found: dict[str, Tensor] = {}
    # Passes that need no training graph go before it, so that both are never in memory.
    for name, scorer in sorted(
        zip(names, scorers, strict=True), key=lambda pair: not pair[1].before_training_pass
    ):
        found[name] = scorer(context)
    losses, counted = context.losses, context.counted
    for name, values in found.items():
        if not isinstance(values, Tensor) or values.shape != losses.shape:
            got = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
            raise ValueError(
                f"scorer {name} must return a tensor of the losses' shape {tuple(losses.shape)}, "
                f"one score each; got {got}."
            )
        wide = torch.promote_types(values.dtype, losses.dtype)
        scores = at_least_float32(values.detach()).to(wide)
        if counted is not None:
            scores = torch.where(counted, scores, torch.zeros_like(scores))
        found[name] = scores
        check_finite(found[name], f"score {name}", "noisy")
    return {name: found[name] for name in names}


def weigh(weighting: Weighting, selector: Selector, context: WeightingContext) -> Tensor:
    """Return the selected weights of a batch, ``(N,)``, in the losses' dtype or a wider one.

    Args:
        weighting: From scores, and what is remembered, to weights.
        selector: Takes and returns weights, ``(N,)``.
        context: The batch.

    Raises:
        ValueError: If the weighting or the selector returns no weights, or negative or non-finite
            ones.
    """
    if context.losses.numel() == 0:
        return context.losses
    raw = _shaped(weighting(context), context.losses, "weighting")
    weights = (normalize(raw) if weighting.relative else raw).to(context.losses)
    selected = _shaped(selector(weights), weights, "selector")
    valid = torch.stack([_valid(raw), _valid(selected).to(raw.device)])
    if not valid.all():  # the device is waited for once
        what = "selector" if valid[0] else "weighting"
        raise ValueError(f"the {what} returned negative or non-finite weights; they must be >= 0.")
    return selected


def _valid(weights: Tensor) -> Tensor:
    return ((weights >= 0) & weights.isfinite()).all()


def _shaped(weights: Any, like: Tensor, what: str) -> Tensor:
    if (
        not isinstance(weights, Tensor)
        or weights.shape != like.shape
        or not weights.is_floating_point()
    ):
        mend = (
            "like those it was given; for a mask return weights * mask."
            if what == "selector"
            else "one for each of context.losses."
        )
        raise ValueError(f"the {what} must return weights of shape ({like.numel()},), {mend}")
    return weights.detach()
