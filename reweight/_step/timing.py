"""How long a training step takes, without the user's own code in between."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from reweight._torch_internals import at_the_end_of_backward

_CPU = torch.device("cpu")


class StepTimer:
    """Takes the time of a call of the reweighter, and of the backward pass of the loss it returns.

    On CUDA by events, which nobody waits for: :attr:`seconds` is known some steps later.

    Args:
        device: Where the step is computed.
    """

    def __init__(self, device: torch.device = _CPU) -> None:
        self._device = device
        self._spans: list[tuple[_Mark, _Mark]] = []
        self._since: _Mark | None = self._mark()
        self._has_run_backward = False
        self._complete = False

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave out of account what the body takes."""
        running = self._since is not None
        self._stop()
        try:
            yield
        finally:
            if running:
                self._since = self._mark()

    def returns(self, loss: Tensor) -> None:
        """Say that the call is over; ``loss`` is what will be back-propagated."""
        self._stop()
        loss.register_hook(self._backward_begins)  # type: ignore[no-untyped-call]

    @property
    def seconds(self) -> float | None:
        """What the step took; ``None`` where its backward pass has not run, or not all of it."""
        if not self._complete:
            return None
        total = 0.0
        for span in self._spans:
            seconds = _between(*span)
            if seconds is None:
                return None
            total += seconds
        return total

    @property
    def complete(self) -> bool:
        """Whether the backward pass has been made, though the device may still be at it."""
        return self._complete

    def _backward_begins(self, _: Tensor) -> None:
        if self._has_run_backward:
            return  # with retain_graph=True it may run again
        self._has_run_backward = True
        self._since = self._mark()
        at_the_end_of_backward(self._backward_ends)

    def _backward_ends(self) -> None:
        self._stop()
        self._complete = True

    def _stop(self) -> None:
        if self._since is not None:
            self._spans.append((self._since, self._mark()))
            self._since = None

    def _mark(self) -> _Mark:
        if self._device.type != "cuda":
            return time.perf_counter()
        event: torch.cuda.Event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record(torch.cuda.current_stream(self._device))
        return event


_Mark = float | torch.cuda.Event


def _between(begin: _Mark, end: _Mark) -> float | None:
    """Return the seconds from one to the other, ``None`` if the device has not come to it yet."""
    if isinstance(begin, float) and isinstance(end, float):
        return end - begin
    assert isinstance(begin, torch.cuda.Event)
    assert isinstance(end, torch.cuda.Event)
    return begin.elapsed_time(end) / 1000 if end.query() else None  # type: ignore[no-untyped-call]
