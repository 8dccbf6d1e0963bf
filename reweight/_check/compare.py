"""One scorer after another, in a training step and in ``score()``, beside the reference."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from reweight._check.facts import facts_of
from reweight._check.reference import PlainGradients, plain_gradients
from reweight._isolation.autocast import Precision
from reweight._isolation.batches import fresh
from reweight._isolation.objective import Objective
from reweight._step.context import ScoringContext
from reweight._step.losses import UnitLosses
from reweight.check_report import CheckReport, ScorerCheck
from reweight.scorers import Scorer

# How far two exact ways may be apart, by the narrowest precision of the parameters, in bytes.
_TOLERANCES = {8: 1e-6, 4: 1e-3, 2: 1e-1}
_TURNS = 4  # in the first ones something may be left to find out


def check_scorers(
    objective: Objective,
    losses: UnitLosses,
    scorers: dict[str, Scorer],
    noisy: Any,
    trusted: Any,
) -> CheckReport:
    """Compare every scorer with plain backward passes; the model is left as found.

    Args:
        objective: The losses as a function of the parameters.
        losses: The same as ``(model, batch) -> losses``.
        scorers: By name.
        noisy: The noisy batch.
        trusted: The trusted batch, or ``None``.
    """
    start = objective.start()
    with warnings.catch_warnings(), Precision(start.devices).for_scores():
        warnings.simplefilter("ignore", UserWarning)  # the report says what they would
        plain = plain_gradients(losses, objective.module, start, noisy, trusted)
        kinds = ["score"] if _waits_for_ranks(objective.model) else ["step", "score"]
        rows = [
            _check(objective, losses, name, scorer, kind, noisy, trusted, plain)
            for name, scorer in scorers.items()
            for kind in kinds
        ]
    return CheckReport(tuple(rows), tuple(facts_of(objective)), plain.losses.numel())


def _check(
    objective: Objective,
    losses: UnitLosses,
    name: str,
    scorer: Scorer,
    kind: str,
    noisy: Any,
    trusted: Any,
    plain: PlainGradients,
) -> ScorerCheck:
    tolerance = _tolerance(objective.trainable().values())
    on = objective.self_check
    try:
        for turn in range(_TURNS):
            objective.self_check = on and turn < _TURNS - 1  # the last one is what others cost
            before = objective.passes
            context = ScoringContext(
                objective,
                fresh(noisy),
                trusted,
                granularity=losses.granularity,
                training=kind == "step",
            )
            try:
                scorer.prepare(context)
                scores = scorer(context)
                passes = objective.passes - before
                expected = scorer.reference(context, plain)
            finally:
                context.passes.start.restore()
    except Exception as error:
        return ScorerCheck(
            name, kind, None, None, tolerance, refused=f"{type(error).__name__}: {error}"
        )
    finally:
        objective.self_check = on
    error, correlation = (None, None) if expected is None else _agreement(scores, expected)
    return ScorerCheck(
        name,
        kind,
        error,
        correlation,
        tolerance,
        way=context.passes.taken,
        passes=passes,
        reason=context.passes.why_not_cheaper,
        note=scorer.reference_note,
    )


def _agreement(found: Tensor, expected: Tensor) -> tuple[float, float | None]:
    found, expected = found.detach().double().cpu(), expected.double().cpu()
    largest = float(expected.abs().max())
    difference = float((found - expected).abs().max())
    error = difference / largest if largest > 0 else difference
    return error, _rank_correlation(found.flatten(), expected.flatten())


def _rank_correlation(a: Tensor, b: Tensor) -> float | None:
    """Spearman's, with the mean rank where values are equal."""
    ranks = torch.stack([_ranks(x) for x in (a, b)])
    if len(a) < 2 or bool((ranks.std(dim=1) == 0).any()):
        return None
    return float(torch.corrcoef(ranks)[0, 1])


def _ranks(x: Tensor) -> Tensor:
    _, inverse, counts = x.unique(return_inverse=True, return_counts=True)
    return (counts.cumsum(0).double() - (counts.double() - 1) / 2)[inverse]


def _tolerance(parameters: Iterable[Tensor]) -> float:
    narrowest = min((p.dtype.itemsize for p in parameters), default=4)
    return _TOLERANCES[min(8, max(2, narrowest))]


def _waits_for_ranks(model: nn.Module) -> bool:
    """Whether a training pass without its backward pass would leave other ranks waiting."""
    return any(isinstance(part, nn.parallel.DistributedDataParallel) for part in model.modules())
