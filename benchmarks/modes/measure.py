"""One model's steps in every mode: time, and agreement with scores in full precision."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.agreement.measure import rank_correlation
from benchmarks.meta_step.models import Setup, build_problem
from reweight import GradientSimilarity, MetaReweighter, NotCompilableError

LOSS = nn.CrossEntropyLoss(reduction="none")
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
class Row:
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


def measure(setup: Setup, rounds: int, *, compiled: bool) -> list[Row]:
    """Return a row for every mode, timed in turn.

    Args:
        setup: The model, its batches and its device.
        rounds: How often each is timed.
        compiled: Whether by compiled graphs, too. Those come last: where something has been
            compiled, no training pass is followed by an observer any more.
    """
    problem = build_problem(setup)
    given = problem.module, problem.noisy, problem.trusted
    exact = _reweighter(problem.module, {}).score(*given[1:]).scores["gradient_similarity"]
    device = torch.device(setup.device)
    rows = _in_turn(modes(), given, exact, rounds, device)
    if compiled:
        rows += _in_turn([Mode("compiled", None, {"compile": True})], given, exact, rounds, device)
    return rows


def _in_turn(
    wanted: list[Mode],
    given: tuple[nn.Module, Any, Any],
    exact: Tensor,
    rounds: int,
    device: torch.device,
) -> list[Row]:
    rows: dict[str, Row] = {}
    steps: dict[str, Callable[[], Tensor | None]] = {}
    for mode in wanted:
        step = _step(*given, mode, device)
        try:
            first, _ = _timed(step, device)
            scores = step()
        except NotCompilableError as refusal:
            rows[mode.name] = Row(mode.name, refused=refusal.reason)
            continue
        steps[mode.name] = step
        agreement = (None, None) if scores is None else _agreement(scores, exact)
        rows[mode.name] = Row(mode.name, None, first, *agreement)
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            times[name].append(_timed(step, device)[0])
    for name, found in times.items():
        rows[name] = replace(rows[name], seconds=statistics.median(found))
    return list(rows.values())


def _reweighter(module: nn.Module, options: dict[str, Any]) -> MetaReweighter:
    # By its name: which way auto would choose is another question.
    return MetaReweighter(module, LOSS, scorer=GradientSimilarity("forward"), **options)


def _step(
    module: nn.Module, noisy: Any, trusted: Any, mode: Mode, device: torch.device
) -> Callable[[], Tensor | None]:
    weigh = None if mode.plain else _reweighter(module, mode.options)

    def autocast() -> AbstractContextManager[Any]:
        if mode.amp is None:
            return nullcontext()
        return torch.autocast(device.type, dtype=getattr(torch, mode.amp))

    def step() -> Tensor | None:
        module.zero_grad()
        if weigh is None:
            with autocast():
                loss = LOSS(module(noisy[0]), noisy[1]).mean()
            loss.backward()
            return None
        with autocast():
            made = weigh(noisy, trusted)
        made.loss.backward()  # type: ignore[no-untyped-call]
        return made.scores["gradient_similarity"]

    return step


def _timed(step: Callable[[], Tensor | None], device: torch.device) -> tuple[float, Tensor | None]:
    """Return seconds and scores; on a CPU of the process alone, which others do not disturb."""
    cpu = device.type == "cpu"
    clock = time.process_time if cpu else time.perf_counter
    began = clock()
    found = step()
    if not cpu:
        torch.accelerator.synchronize(device)
    return clock() - began, found


def _agreement(found: Tensor, exact: Tensor) -> tuple[float, float]:
    found, exact = found.double(), exact.double()
    error = float((found - exact).norm() / exact.norm().clamp(min=1e-300))
    return rank_correlation(found.cpu(), exact.cpu()), error
