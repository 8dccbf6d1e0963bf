"""Activation checkpointing: of the older, reentrant kind, and none.

Its backward pass runs another one inside, which fills ``.grad`` of what it finds there and of
nothing that ``torch.autograd.grad`` asks for: parameters inside get a gradient in training and none
in a scoring pass, in silence where the part's inputs do not depend on parameters. So a scoring
pass runs such parts as the newer kind does, which computes the same.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch.utils import checkpoint

from reweight._torch_internals import around_checkpoints, set_around_checkpoints


@contextmanager
def without_reentrant_checkpoints() -> Iterator[None]:
    """Let this thread's reentrant checkpoints be of the newer kind, in the body."""

    def apply(_: Any, function: Callable[..., Any], preserve: bool, *args: Any) -> Any:
        return checkpoint.checkpoint(
            function, *args, use_reentrant=False, preserve_rng_state=preserve
        )

    with _applying(apply):
        yield


@contextmanager
def reentrant_checkpoints_noticed() -> Iterator[Callable[[], bool]]:
    """Yield what tells whether this thread has run a reentrant checkpoint in the body."""
    seen: list[bool] = []

    def apply(original: Callable[..., Any], *args: Any) -> Any:
        seen.append(True)
        return original(*args)

    with _applying(apply):
        yield lambda: bool(seen)


_REAL: Any = checkpoint.CheckpointFunction
_WAYS: list[tuple[int, Callable[..., Any]]] = []


class _Instead(_REAL):  # type: ignore[misc]
    """Made once: to make a class in every pass takes time, and leaves it to garbage collection."""

    @staticmethod
    def apply(*args: Any) -> Any:
        """Go the way in force, in the thread that it is in force for."""
        thread, way = _WAYS[-1] if _WAYS else (0, None)
        if way is None or threading.get_ident() != thread:
            return _REAL.apply(*args)
        return way(_REAL.apply, *args)


@contextmanager
def _applying(way: Callable[..., Any]) -> Iterator[None]:
    before: Any = checkpoint.CheckpointFunction
    _WAYS.append((threading.get_ident(), way))
    checkpoint.CheckpointFunction = _Instead  # type: ignore[misc]
    try:
        yield
    finally:
        _WAYS.pop()
        checkpoint.CheckpointFunction = before  # type: ignore[misc]


@contextmanager
def without_checkpoints() -> Iterator[None]:
    """Let this thread run the parts of both kinds of checkpoints as they are, in the body.

    For passes whose graph outlives them: a backward pass runs a checkpointed part again, and would
    have to find the same parameters, autocast and kernels as the pass that is over.
    """
    before = around_checkpoints()
    if before is None:
        yield
        return
    thread = threading.get_ident()

    def instead(*args: Any, **kwargs: Any) -> Iterator[None]:
        here = threading.get_ident() == thread
        return iter((None,)) if here else before(*args, **kwargs)

    set_around_checkpoints(instead)
    try:
        yield
    finally:
        set_around_checkpoints(before)
