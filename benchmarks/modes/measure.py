"""One model's steps in every mode: time, and agreement with scores in full precision."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from benchmarks.agreement.measure import rank_correlation
from benchmarks.meta_step.models import Setup, build_problem
from benchmarks.meta_step.problem import Problem
from reweight import GradientSimilarity, MetaReweighter, NotCompilableError

HALVES = ("bfloat16", "float16")


@dataclass(frozen=True)
class Mode:
    """One way to compute a step.

    Attributes:
        name: In the table.
        amp: Dtype of autocast by its name, or ``None``.
        options: Of the reweighter.
        plain: Whether the step is an ordinary one, without scores.
    """

    name: str
    amp: str | None
    options: dict[str, Any]
    plain: bool = False


@dataclass(frozen=True)
class ModeRow:
    """What was measured of one mode.

    Attributes:
        mode: Its name.
        seconds: Median of a step: forward, scores, backward.
        first: Of the first step, in which graphs are compiled.
        correlation: Spearman's, with the scores in full precision, over the batch.
        error: Length of the difference over the length of those scores.
        refused: Why there is no such step.
    """

    mode: str
    seconds: float | None = None
    first: float | None = None
    correlation: float | None = None
    error: float | None = None
    refused: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return the attributes by name."""
        return asdict(self)


def modes() -> list[Mode]:
    """Return the modes that need no compiler."""
    found = [Mode("plain step", None, {}, plain=True), Mode("full precision", None, {})]
    for amp in HALVES:
        found += [
            Mode(f"plain step, {amp}", amp, {}, plain=True),
            Mode(f"full precision beside {amp}", amp, {}),
            Mode(f"training precision, {amp}", amp, {"precision": "training"}),
        ]
    return found


def measure(setup: Setup, rounds: int, *, compiled: bool) -> list[ModeRow]:
    """Return a row for every mode, timed in turn.

    Args:
        setup: The model, its batches and its device.
        rounds: How often each is timed.
        compiled: Whether by compiled graphs, too. Those come last: where something has been
            compiled, no training pass is followed by an observer any more.
    """
    problem = build_problem(setup)
    found = _reweighter(problem, {}).score(problem.noisy, problem.trusted)
    exact = found.scores["gradient_similarity"]
    rows = _in_turn(modes(), problem, exact, rounds)
    if compiled:
        rows += _in_turn([Mode("compiled", None, {"compile": True})], problem, exact, rounds)
    return rows


def _in_turn(
    wanted: list[Mode],
    problem: Problem,
    exact: Tensor,
    rounds: int,
) -> list[ModeRow]:
    rows: dict[str, ModeRow] = {}
    steps: dict[str, Callable[[], Tensor | None]] = {}
    for mode in wanted:
        step = _step(problem, mode)
        try:
            first = _timed(step, problem.device)
            scores = step()
        except NotCompilableError as refusal:
            rows[mode.name] = ModeRow(mode.name, refused=refusal.reason)
            continue
        steps[mode.name] = step
        agreement = (None, None) if scores is None else _agreement(scores, exact)
        rows[mode.name] = ModeRow(mode.name, None, first, *agreement)
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            times[name].append(_timed(step, problem.device))
    for name, found in times.items():
        rows[name] = replace(rows[name], seconds=statistics.median(found))
    return list(rows.values())


def _reweighter(problem: Problem, options: dict[str, Any]) -> MetaReweighter:
    # By its name: which way auto would choose is another question.
    scorer = GradientSimilarity("forward")
    return MetaReweighter(problem.module, problem.loss, scorer=scorer, **options)


def _step(problem: Problem, mode: Mode) -> Callable[[], Tensor | None]:
    weigh = None if mode.plain else _reweighter(problem, mode.options)
    amp = None if mode.amp is None else getattr(torch, mode.amp)
    inputs, labels = problem.noisy

    def step() -> Tensor | None:
        problem.module.zero_grad()
        # One model in every mode, so that it is not the problem's own autocast (nor its losses).
        with torch.autocast(problem.device.type, amp, enabled=amp is not None):
            if weigh is None:
                loss, scores = problem.loss(problem.module(inputs), labels).mean(), None
            else:
                made = weigh(problem.noisy, problem.trusted)
                loss, scores = made.loss, made.scores["gradient_similarity"]
        loss.backward()  # type: ignore[no-untyped-call]
        return scores

    return step


def _timed(step: Callable[[], Tensor | None], device: torch.device) -> float:
    """Return seconds; on a CPU of the process alone, which others do not disturb."""
    cpu = device.type == "cpu"
    clock = time.process_time if cpu else time.perf_counter
    began = clock()
    step()
    if not cpu:
        torch.accelerator.synchronize(device)
    return clock() - began


def _agreement(found: Tensor, exact: Tensor) -> tuple[float, float]:
    found, exact = found.double(), exact.double()
    error = float((found - exact).norm() / exact.norm().clamp(min=1e-300))
    return rank_correlation(found.cpu(), exact.cpu()), error
