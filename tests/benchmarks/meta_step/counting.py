"""What a step does, counted: no clock is asked."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from benchmarks.meta_step.methods import Builder
from benchmarks.meta_step.models import Setup, build_problem
from tests.counting import operators_of
from tests.derivative.beside_training.ruling import reruns
from tests.waiting import waits


@dataclass(frozen=True)
class Counts:
    """What one step does.

    Attributes:
        operators: Operators that Python or autograd calls; what they call in turn is left out.
        reruns: Operators run once more, in forward mode.
        asks: Values that the library asks of tensors.
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
        reruns() as again,
        _calls(type(problem.module), ("forward",), problem.module) as forward,
        _calls(torch.autograd, ("grad", "backward")) as backward,
    ):
        step()
    with waits() as asks:  # by itself: operators that it replaces have no rules
        step()
    return Counts(operators_of(step), again.total(), len(asks), next(forward), next(backward))


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


def _counted(function: Callable[..., object], calls: Ticks, on: object) -> Callable[..., object]:
    def counting(*args: object, **kwargs: object) -> object:
        if on is None or args[0] is on:
            next(calls)
        return function(*args, **kwargs)

    return counting
