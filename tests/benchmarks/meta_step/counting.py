"""What a step does, counted: no clock is asked."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn
from torch._C._autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from benchmarks.meta_step.methods import Builder
from benchmarks.meta_step.models import Setup, build_problem
from benchmarks.meta_step.problem import Step
from reweight._derivative.beside_training.rerun import Rerun

ASKS = ("__bool__", "__float__", "__int__", "__index__", "item", "tolist", "nonzero")
"""Methods of a tensor that give Python a value: where the tensor is on a device, the host waits."""


@dataclass(frozen=True)
class Counts:
    """What one step does.

    Attributes:
        operators: Operators that Python or autograd calls; what they call in turn is left out.
        reruns: Operators kept, to be run once more in forward mode.
        asks: Values that Python asks of tensors.
        forward: Calls of the model.
        backward: Calls of autograd.
    """

    operators: int
    reruns: int
    asks: int
    forward: int
    backward: int


def counts_of(build: Builder, setup: Setup, warmup: int = 3) -> Counts:
    """Return the counts of a step after ``warmup`` others, in which the library proves itself."""
    problem = build_problem(setup)
    step = build(problem)
    for _ in range(warmup):
        step()
    with (
        _calls(Rerun, ("__init__",)) as reruns,
        waits() as asks,
        _calls(type(problem.module), ("forward",), problem.module) as forward,
        _calls(torch.autograd, ("grad", "backward")) as backward,
    ):
        step()
    return Counts(operators_of(step), next(reruns), len(asks), next(forward), next(backward))


def operators_of(step: Step) -> int:
    """Return how many operators a step calls.

    By the profiler: the library does not follow a pass that a ``TorchDispatchMode`` looks at too.
    """
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        step()
    events = [e for e in profiler.events() or [] if e.device_type == DeviceType.CPU]
    return sum(_is_operator(e) and not _within_another(e) for e in events)


def _is_operator(event: object) -> bool:
    return event.name.startswith("aten::")


def _within_another(event: object) -> bool:
    around = event.cpu_parent
    while around is not None:
        if _is_operator(around):
            return True
        around = around.cpu_parent
    return False


@contextmanager
def waits() -> Iterator[list[str]]:
    """Yield what asks tensors for values in the body, an entry each time, by name."""
    found: list[str] = []
    with ExitStack() as stack:
        for owner, names in ((torch.Tensor, ASKS), (torch, ("equal",))):
            for name in names:
                note = partial(found.append, name)
                stack.enter_context(_replaced(owner, name, lambda f, note=note: _noted(f, note)))
        yield found


Ticks = Generator[int]


def _ticks() -> Ticks:
    number = 0
    while True:
        yield number
        number += 1


@contextmanager
def _calls(owner: object, names: tuple[str, ...], on: nn.Module | None = None) -> Iterator[Ticks]:
    """Count calls, all of them or those on one object.

    By a generator, whose next value is the number of calls: a list, a dict or an iterator that a
    forward pass changes is put back by the library after a scoring pass, and this cannot be copied.
    """
    calls = _ticks()
    calls = _ticks()
    with ExitStack() as stack:
        for name in names:
            stack.enter_context(_replaced(owner, name, lambda f: _counted(f, calls, on)))
        yield calls


@contextmanager
def _replaced(
    owner: object, name: str, by: Callable[[Callable[..., object]], object]
) -> Iterator[None]:
    own = owner.__dict__.get(name)
    setattr(owner, name, by(getattr(owner, name)))
    try:
        yield
    finally:
        if own is None:
            delattr(owner, name)
        else:
            setattr(owner, name, own)


def _noted(function: Callable[..., object], note: Callable[[], None]) -> Callable[..., object]:
    def noting(*args: object, **kwargs: object) -> object:
        note()
        return function(*args, **kwargs)

    return noting


def _counted(function: Callable[..., object], calls: Ticks, on: object) -> Callable[..., object]:
    def counting(*args: object, **kwargs: object) -> object:
        if on is None or args[0] is on:
            next(calls)
        return function(*args, **kwargs)

    return counting
