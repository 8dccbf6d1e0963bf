"""Which of the exact ways ``method="auto"`` takes: the cheapest on this model, found by timing.

All are exact, and differ in rounding. What a way costs depends on the model: forward mode makes
fewer passes, double backward runs fewer small operators from Python. So each is taken in turn in
the first steps, and the cheapest from then on. One more is one more line of ``CANDIDATES``.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from reweight._derivative.ways import WAYS
from reweight._isolation.graph_leaves import nodes_of
from reweight._isolation.verdicts import Verdicts
from reweight._isolation.wrappers import several_ranks
from reweight._step.timing import StepTimer
from reweight._torch_internals import output_shape

FIRST, LAST = 2, 9
"""The training steps in which the candidates are taken in turn."""
MARGIN = 0.8
"""The usual way is left for one that takes at most this share of its time."""
CANDIDATES: dict[str, bool] = {"forward": False, "double_backward": True}
"""What may be chosen, and whether it holds a second graph, of a size with the first."""
_MOST_BYTES = {"cpu": 2**26}
_MOST_BYTES_ELSEWHERE = 2**29


class Choice:
    """What is known of the ways' cost on one model; kept in its verdicts, from step to step.

    Args:
        verdicts: Of the model.
    """

    def __init__(self, verdicts: Verdicts) -> None:
        self._verdicts = verdicts
        self._running: list[tuple[str, StepTimer]] = []

    def __getstate__(self) -> dict[str, object]:
        """Copies and pickles go on without what is being timed."""
        return {**self.__dict__, "_running": []}

    def forget(self) -> None:
        """Let go of what is being timed: another state is loaded."""
        self._running.clear()

    def collect(self) -> None:
        """Take in the times that are known by now, and choose when all are there."""
        waiting = []
        for way, timer in self._running:
            seconds = timer.seconds
            if seconds is not None:
                self._verdicts.timings.setdefault(way, []).append(seconds)
            elif timer.complete:
                waiting.append((way, timer))  # else no backward pass was made of that step's loss
        self._running[:] = waiting
        if self._verdicts.turns >= LAST and not waiting and not self._verdicts.chosen:
            self._verdicts.chosen = cheapest(self._verdicts)

    def turn(self, devices: Sequence[torch.device]) -> Turn:
        """Return the part that a training step which begins now has in the choice."""
        self.collect()
        device = devices[0] if devices else torch.device("cpu")
        return Turn(self._verdicts, self._running, device)


class Turn:
    """One training step's part in the choice: which way it takes, and how long that takes.

    Args:
        verdicts: Of the model.
        running: Where the timer goes, with the way taken.
        device: Where the step is computed.
    """

    def __init__(
        self, verdicts: Verdicts, running: list[tuple[str, StepTimer]], device: torch.device
    ) -> None:
        self._verdicts = verdicts
        self._running = running
        self._device = device
        self._way = ""
        # Nothing is timed any more once a way is chosen, or only one is left.
        self._timer = None if verdicts.chosen or verdicts.turns >= LAST else StepTimer(device)

    def prefer(self, usual: Sequence[str]) -> str:
        """Return the way to take in this step.

        Args:
            usual: The exact ways that go, for all that is known, the first the usual one.
        """
        verdicts = self._verdicts
        if self._timer is None:
            return verdicts.chosen
        rivals = rivals_of(usual, verdicts)
        if not rivals:
            self._timer = None
            return ""
        if not self._way:  # of several scorers the first decides for the step
            in_turn = [*rivals, usual[0]]
            number = verdicts.turns + 1 - FIRST
            self._way = in_turn[number % len(in_turn)] if number >= 0 else usual[0]
        return self._way

    def took(self, way: str) -> None:
        """Say which way went: one that was to and did not is not timed."""
        if way != self._way:
            self._timer = None

    def left_out(self) -> AbstractContextManager[None]:
        """Return the context of what costs the same whichever way is taken, or is done once."""
        return nullcontext() if self._timer is None else self._timer.paused()

    def ends(self, loss: Tensor) -> None:
        """Say that the step is about to return ``loss``; one that ends in an error is no turn."""
        if not self._way:
            return
        self._verdicts.turns += 1
        if self._timer is None or not loss.requires_grad:
            return
        if self._verdicts.turns == 1:
            self._refuse_large(loss)
        self._timer.returns(loss)
        self._running.append((self._way, self._timer))

    def _refuse_large(self, loss: Tensor) -> None:
        """A second graph is held on trial only where it is small.

        Where it is not, the device is busy with the operators themselves, and the way with fewer
        passes is the cheapest.
        """
        held = _bytes_of_graph(loss)
        if held <= _MOST_BYTES.get(self._device.type, _MOST_BYTES_ELSEWHERE):
            return
        for way, second_graph in CANDIDATES.items():
            if second_graph:
                self._verdicts.refused.setdefault(
                    way,
                    f"not tried: its second graph would hold {held / 2**20:.0f} MiB more, and with "
                    f"operators of that size it is not the cheapest",
                )


def rivals_of(usual: Sequence[str], verdicts: Verdicts) -> list[str]:
    """Return what the first of the ``usual`` ways is to be compared with."""
    if not usual or usual[0] not in CANDIDATES:
        return []
    return [w for w in CANDIDATES if can_replace(w, usual) and w not in verdicts.refused]


def can_replace(way: str, usual: Sequence[str]) -> bool:
    """Whether ``way`` may stand in for the first of the ``usual`` ones: one that is left may not.

    A candidate that is no fallback of others may always be tried.
    """
    return way in usual[1:] or (way in CANDIDATES and way not in WAYS)


def medians(verdicts: Verdicts) -> dict[str, tuple[float, int]]:
    """Return, by way, the median of what was timed, in seconds, and of how many steps.

    The first of each is left out, in which much is loaded and made ready.
    """
    return {
        way: (statistics.median(times[1:]), len(times) - 1)
        for way, times in verdicts.timings.items()
        if len(times) > 1
    }


def cheapest(verdicts: Verdicts) -> str:
    """Return the way to stay with."""
    found = {w: s for w, (s, _) in medians(verdicts).items() if w not in verdicts.refused}
    usual = verdicts.way or WAYS[0]
    if not found:
        return usual
    best = min(found, key=found.__getitem__)
    return best if found[best] <= MARGIN * found.get(usual, math.inf) else usual


def _bytes_of_graph(loss: Tensor) -> int:
    """Return about how much the graph of ``loss`` holds: one tensor of each operator's shape."""
    shapes = (output_shape(node) for node in nodes_of(loss) if not hasattr(node, "variable"))
    return sum(math.prod(shape) for shape in shapes if shape is not None) * loss.itemsize


def may_be_timed(devices: Sequence[torch.device]) -> bool:
    """Whether ways may be told apart by the clock.

    Not by several ranks, which must all take the same, nor where runs are to be alike.

    Args:
        devices: Other than the CPU, those of the model.
    """
    if several_ranks() or torch.are_deterministic_algorithms_enabled():
        return False
    return not devices or (len(devices) == 1 and devices[0].type == "cuda")
