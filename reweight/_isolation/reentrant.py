"""Activation checkpointing of the older, reentrant kind.

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


@contextmanager
def _applying(way: Callable[..., Any]) -> Iterator[None]:
    original: Any = checkpoint.CheckpointFunction
    thread = threading.get_ident()

    class Instead(original):  # type: ignore[misc]
        @staticmethod
        def apply(*args: Any) -> Any:
            if threading.get_ident() != thread:
                return original.apply(*args)
            return way(original.apply, *args)

    checkpoint.CheckpointFunction = Instead  # type: ignore[misc]
    try:
        yield
    finally:
        checkpoint.CheckpointFunction = original  # type: ignore[misc]
