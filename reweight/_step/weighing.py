"""From the scorers of a mixture to checked scores, and from its weights to selected ones."""

from __future__ import annotations

import torch
from torch import Tensor

from reweight._dtypes import at_least_float32
from reweight._step.context import ScoringContext
from reweight.errors import check_finite
from reweight.scorers import Mixture
from reweight.selectors import Selector


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
    scorers = [scorer for _, scorer in mixture.terms]
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


def selected_weights(selector: Selector, weights: Tensor, counted: Tensor | None = None) -> Tensor:
    """Return what ``selector`` makes of ``weights``, in their shape, detached.

    Args:
        selector: Takes and returns weights, ``(N,)``.
        weights: Non-negative, of any shape.
        counted: Which of them the selector sees, bool, in their shape (N is their number); the
            others are zero. ``None``: all.

    Raises:
        ValueError: If the selector returns no weights, or negative or non-finite ones.
    """
    if counted is None:
        return _selected(selector, weights.reshape(-1)).reshape(weights.shape)
    whole = torch.zeros_like(weights)
    if counted.any():
        selected = _selected(selector, weights[counted])
        whole = whole.to(torch.promote_types(whole.dtype, selected.dtype))
        whole[counted] = selected.to(whole)
    return whole


def _selected(selector: Selector, weights: Tensor) -> Tensor:
    selected = selector(weights)
    if (
        not isinstance(selected, Tensor)
        or selected.shape != weights.shape
        or not selected.is_floating_point()
    ):
        raise ValueError(
            f"the selector must return weights of shape ({weights.numel()},), like those it was "
            f"given; for a mask return weights * mask."
        )
    if not ((selected >= 0) & selected.isfinite()).all():
        raise ValueError("the selector returned negative or non-finite weights; they must be >= 0.")
    return selected.detach()
