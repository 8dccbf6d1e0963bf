"""From the scorers of a mixture to checked scores, and from its weights to selected ones."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from reweight._dtypes import at_least_float32
from reweight._step.context import ScoringContext
from reweight.errors import check_finite
from reweight.normalize import normalize
from reweight.scorers import Mixture
from reweight.selectors import KeepAll, Rectify, Selector, TopK
from reweight.weightings import (
    EqualWeights,
    GroupWeights,
    PerBatch,
    SampleWeights,
    Weighting,
    WeightingContext,
    WeightNet,
)
from reweight.weightings.weighting import Sum

_WEIGHTINGS = (PerBatch, EqualWeights, SampleWeights, GroupWeights)
_SELECTORS = (KeepAll, Rectify, TopK)


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
        NonFiniteError: If a score is not finite: when ``context.later`` is read, by which some
            scores may be replaced.
    """
    names = mixture.names()
    scorers = mixture.scorers
    for scorer in scorers:
        scorer.prepare(context)
    found: dict[str, Any] = {}
    doubts: dict[str, list[tuple[Tensor, Callable[[], Tensor]]]] = {}
    # Passes that need no training graph go before it, so that both are never in memory.
    for name, scorer in sorted(
        zip(names, scorers, strict=True), key=lambda pair: not pair[1].before_training_pass
    ):
        found[name] = scorer(context)
        doubts[name] = context.taken_doubts()
    scores = {name: _checked(name, found[name], context) for name in names}
    for name in names:
        for wrong, again in doubts[name]:
            context.later.ask(wrong, partial(_again, again, name, scores, context))
        context.later.ask(_not_finite(scores[name]), partial(_refuse, name, scores))
    return scores


def _checked(name: str, values: Any, context: ScoringContext) -> Tensor:
    losses, counted = context.losses, context.counted
    if not isinstance(values, Tensor) or values.shape != losses.shape:
        got = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
        raise ValueError(
            f"scorer {name} must return a tensor of the losses' shape {tuple(losses.shape)}, "
            f"one score each; got {got}."
        )
    wide = torch.promote_types(values.dtype, losses.dtype)
    scores = at_least_float32(values.detach()).to(wide)
    return scores if counted is None else torch.where(counted, scores, torch.zeros_like(scores))


def _not_finite(values: Tensor) -> Tensor:
    # Of numbers that are finite the sum of products with zero is zero; else it is NaN.
    return (values * 0).sum() != 0


def _again(
    again: Callable[[], Tensor],
    name: str,
    scores: dict[str, Tensor],
    context: ScoringContext,
    wrong: float,
) -> None:
    if wrong:
        with context.passes.precision.for_scores():
            scores[name] = _checked(name, again(), context)
        context.later.ask(_not_finite(scores[name]), partial(_refuse, name, scores))


def _refuse(name: str, scores: dict[str, Tensor], wrong: float) -> None:
    if wrong:  # those of now: they may have been computed again meanwhile
        check_finite(scores[name], f"score {name}", "noisy")


def weigh(
    weighting: Weighting, selector: Selector, context: WeightingContext, *, at_once: bool = True
) -> tuple[Tensor, Tensor | None]:
    """Return the selected weights of a batch, ``(N,)``, in the losses' dtype or a wider one.

    And, of weights that a network of this library's gives, whether they are no weights, a scalar
    that is not waited for: then they are all zero.

    Args:
        weighting: From scores, and what is remembered, to weights.
        selector: Takes and returns weights, ``(N,)``.
        context: The batch.
        at_once: Whether everything is to be looked at now.

    Raises:
        ValueError: If the weighting or the selector returns no weights, or negative or non-finite
            ones.
    """
    if context.losses.numel() == 0:
        return context.losses, None
    raw = _shaped(weighting(context), context.losses, "weighting")
    weights = (normalize(raw) if weighting.relative else raw).to(context.losses)
    selected = _shaped(selector(weights), weights, "selector")
    if _own(weighting, selector):  # of scores that are finite
        return selected, None
    valid = torch.stack([_valid(raw), _valid(selected).to(raw.device)])
    if not at_once and _own(weighting, selector, networks=True):
        every = valid.all()
        return torch.where(every, selected, torch.zeros_like(selected)), ~every
    if not valid.all():  # the device is waited for once
        what = "selector" if valid[0] else "weighting"
        raise ValueError(f"the {what} returned negative or non-finite weights; they must be >= 0.")
    return selected, None


def refuse_weights_of_the_last_step(refused: float) -> None:
    """Raise if they were none, which was not waited for then."""
    if refused:
        raise ValueError(
            "the weighting returned negative or non-finite weights in the step before this one, "
            "which was therefore made as one in which no weight is left (on_empty); they must be "
            ">= 0. A WeightNet that diverges needs a smaller rate, or a larger pull."
        )


def _own(weighting: Weighting, selector: Selector, *, networks: bool = False) -> bool:
    """Whether both are the library's, and, unless ``networks`` are meant too, none may diverge."""
    parts = weighting.parts if isinstance(weighting, Sum) else (weighting,)
    kinds = (*_WEIGHTINGS, WeightNet) if networks else _WEIGHTINGS
    return all(type(part) in kinds for part in parts) and type(selector) in _SELECTORS


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
