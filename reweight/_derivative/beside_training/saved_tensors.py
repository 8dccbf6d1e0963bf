"""What the graph of a followed pass keeps for the backward pass.

A tensor that the graph keeps would keep its tangent too, until the backward pass is over. An alias
of it in its place does not: tangents go as soon as the model lets go of what they belong to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor


@contextmanager
def aliases() -> Iterator[None]:
    """Let the graph keep aliases, unless hooks of the caller's are in place or hooks are barred."""
    engine: Any = torch._C._autograd
    if not engine._saved_tensors_hooks_is_enabled() or _innermost() is not None:
        yield
        return
    with torch.autograd.graph.saved_tensors_hooks(_alias, _unchanged):
        yield


def may_be_read() -> bool:
    """Whether what the graph keeps may be read at once.

    Hooks of others may do anything to hand it out: activation checkpointing runs the model again.
    """
    innermost = _innermost()
    return innermost is None or innermost[0] is _alias


def _innermost() -> tuple[Callable[[Tensor], Any], Callable[[Any], Tensor]] | None:
    engine: Any = torch._C._autograd
    found: tuple[Callable[[Tensor], Any], Callable[[Any], Tensor]] | None
    found = engine._top_saved_tensors_default_hooks(True)
    return found


def _alias(x: Tensor) -> tuple[Tensor, int]:
    return x.detach(), x._version


def _unchanged(kept: tuple[Tensor, int]) -> Tensor:
    x, version = kept
    if x._version != version:  # with hooks, autograd no longer looks itself
        raise RuntimeError(
            f"one of the variables needed for gradient computation has been modified by an inplace "
            f"operation: a tensor of shape {tuple(x.shape)} is at version {x._version}; expected "
            f"version {version} instead."
        )
    return x
