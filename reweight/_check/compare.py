"""One scorer after another, in a training step and in ``score()``, beside the reference."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from reweight._check.facts import facts_of
from reweight._isolation.autocast import Precision
from reweight._isolation.batches import fresh
from reweight._isolation.objective import Objective
from reweight._step.context import ScoringContext
from reweight._step.losses import UnitLosses
from reweight._step.modes import DEFAULT, Modes
from reweight._step.plain_gradients import PlainGradients, plain_gradients
from reweight.check_report import CheckReport, ScorerCheck
from reweight.scorers import Scorer

# How far two exact ways may be apart, by the narrowest precision of the parameters, in bytes.
_TOLERANCES = {8: 1e-6, 4: 1e-3, 2: 1e-1}
_APPROXIMATE = 0.1
_TURNS = 4  # in the first ones something may be left to find out
_WAYS = {
    "compiled": "forward mode, by a compiled graph",
    "beside": "followed beside the training pass",
    "forward": "forward mode, in a pass of its own",
    "double_backward": "double backward",
    "per_sample": "one backward pass a sample",
    "finite_difference": "a finite difference",
    "layer_products": "products of every layer's input and output gradient",
}


def check_scorers(
    objective: Objective,
    losses: UnitLosses,
    scorers: dict[str, Scorer],
    noisy: Any,
    trusted: Any,
    modes: Modes = DEFAULT,
) -> CheckReport:
    """Compare every scorer with plain backward passes; the model is left as found.

    Args:
        objective: The losses as a function of the parameters.
        losses: The same as ``(model, batch) -> losses``.
        scorers: By name.
        noisy: The noisy batch.
        trusted: The trusted batch, or ``None``.
        modes: How scoring passes are computed.
    """
    start = objective.start(restores=True)
    changed = (0, 0)
    rows: list[ScorerCheck] = []
    with warnings.catch_warnings(), Precision(start.devices).for_scores():
        warnings.simplefilter("ignore", UserWarning)  # the report says what they would
        plain = plain_gradients(losses, objective.module, start, noisy, trusted)
        for name, scorer in scorers.items():
            for call in ("step", "score"):
                # A training pass without its backward pass would leave other ranks waiting.
                if call == "step" and _waits_for_ranks(objective.model):
                    continue
                trial = _Trial(objective, losses, scorer, call == "step", modes)
                rows.append(trial.row(name, noisy, trusted, plain))
                changed = max(changed, trial.changed)
    return CheckReport(tuple(rows), tuple(facts_of(objective, changed)), plain.losses.numel())


class _Trial:
    """One scorer in one kind of call."""

    def __init__(
        self,
        objective: Objective,
        losses: UnitLosses,
        scorer: Scorer,
        training: bool,
        modes: Modes,
    ) -> None:
        self._modes = modes
        self._objective, self._losses, self._scorer = objective, losses, scorer
        self._training = training
        self.changed = (0, 0)

    def row(self, name: str, noisy: Any, trusted: Any, plain: PlainGradients) -> ScorerCheck:
        """Return the comparison."""
        call = "step" if self._training else "score"
        tolerance = _tolerance(self._objective.trainable().values())
        on = self._objective.self_check
        try:
            for turn in range(_TURNS):
                # The last turn is what a step costs when nothing is left to prove.
                self._objective.self_check = on and turn < _TURNS - 1
                before = self._objective.passes
                context = ScoringContext(
                    self._objective,
                    fresh(noisy),
                    trusted,
                    granularity=self._losses.granularity,
                    training=self._training,
                    modes=self._modes,
                )
                try:
                    self._scorer.prepare(context)
                    scores = self._scorer(context)
                    passes = self._objective.passes - before
                    if self._training:
                        context.passes.for_training()
                        self.changed = context.passes.start.changed()
                    expected, note = self._scorer.reference(context, plain)
                finally:
                    context.passes.start.restore()
        except Exception as refusal:
            words = f"{type(refusal).__name__}: {refusal}"
            return ScorerCheck(name, call, None, None, tolerance, refused=words)
        finally:
            self._objective.self_check = on
        error, correlation = (None, None) if expected is None else _agreement(scores, expected)
        taken = context.passes.taken
        return ScorerCheck(
            name,
            call,
            error,
            correlation,
            _APPROXIMATE if taken == "finite_difference" else tolerance,
            way=_WAYS.get(taken) or self._plain_way(),
            passes=passes,
            reason=self._reason(taken),
            note=note,
        )

    def _plain_way(self) -> str:
        return "read off the training pass" if self._training else "a forward pass of its own"

    def _reason(self, taken: str) -> str:
        verdicts = self._objective.verdicts
        if taken in ("double_backward", "per_sample"):
            return verdicts.reason
        if taken == "forward" and self._training:
            inside = "autocast is entered inside the model" if verdicts.autocast_inside else ""
            return verdicts.not_followed or inside
        return ""


def _agreement(found: Tensor, expected: Tensor) -> tuple[float, float | None]:
    found, expected = found.detach().double().cpu(), expected.double().cpu()
    largest = float(expected.abs().max())
    difference = float((found - expected).abs().max())
    relative = difference / largest if largest > 0 else difference
    return relative, _rank_correlation(found.flatten(), expected.flatten())


def _rank_correlation(a: Tensor, b: Tensor) -> float | None:
    """Spearman's, with the mean rank where values are equal."""
    ranks = torch.stack([_ranks(x) for x in (a, b)])
    if len(a) < 2 or bool((ranks.std(dim=1) == 0).any()):
        return None
    return float(torch.corrcoef(ranks)[0, 1])


def _ranks(x: Tensor) -> Tensor:
    found: Any = torch.unique(x, return_inverse=True, return_counts=True)
    _, inverse, counts = found
    ranks: Tensor = (counts.cumsum(0).double() - (counts.double() - 1) / 2)[inverse]
    return ranks


def _tolerance(parameters: Iterable[Tensor]) -> float:
    narrowest = min((p.dtype.itemsize for p in parameters), default=4)
    return _TOLERANCES[min(8, max(2, narrowest))]


def _waits_for_ranks(model: nn.Module) -> bool:
    return any(isinstance(part, nn.parallel.DistributedDataParallel) for part in model.modules())
