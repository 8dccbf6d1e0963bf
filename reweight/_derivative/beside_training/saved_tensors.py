"""What the graph of a followed pass keeps for the backward pass.

A tensor that the graph keeps would keep its tangent too, until the backward pass is over. An alias
of it in its place does not: tangents go as soon as the model lets go of what they belong to.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from reweight._torch_internals import saved_tensors_hooks, saved_tensors_hooks_allowed, version


@contextmanager
def aliases() -> Iterator[None]:
    """Let the graph keep aliases, unless hooks of the caller's are in place or hooks are barred."""
    if not saved_tensors_hooks_allowed() or saved_tensors_hooks() is not None:
        yield
        return
    with torch.autograd.graph.saved_tensors_hooks(_alias, _unchanged):
        yield


def may_be_read() -> bool:
    """Whether what the graph keeps may be read at once.

    Hooks of others may do anything to hand it out: activation checkpointing runs the model again.
    """
    innermost = saved_tensors_hooks()
    return innermost is None or innermost[0] is _alias


def _alias(x: Tensor) -> tuple[Tensor, int]:
    return x.detach(), version(x)


def _unchanged(kept: tuple[Tensor, int]) -> Tensor:
    x, before = kept
    if version(x) != before:  # with hooks, autograd no longer looks itself
        raise RuntimeError(
            f"one of the variables needed for gradient computation has been modified by an inplace "
            f"operation: a tensor of shape {tuple(x.shape)} is at version {version(x)}; expected "
            f"version {before} instead."
        )
    return x
