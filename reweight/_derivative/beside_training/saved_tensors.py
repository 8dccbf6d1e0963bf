"""What the graph of a followed pass keeps for the backward pass.

A tensor that the graph keeps would keep its tangent too, until the backward pass is over. An alias
of it in its place does not: tangents go as soon as the model lets go of what they belong to.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from reweight._torch_internals import saved_tensors_hooks, saved_tensors_hooks_allowed, version

# Operators whose backward pass needs no input's values: sums, views, and those that go by what
# they returned, which a graph keeps in a form of its own.
_NO_INPUT = (
    "add add_ sub sub_ rsub neg neg_ __add__ __radd__ __iadd__ __sub__ __rsub__ __isub__ "
    "__neg__ relu relu_ tanh sigmoid exp rsqrt softmax log_softmax cat concat stack sum "
    "mean view view_as reshape flatten unflatten squeeze unsqueeze permute transpose t "
    "swapaxes movedim expand expand_as contiguous clone chunk split unbind select narrow "
    "__getitem__ to float double half bfloat16 type_as masked_fill dropout embedding"
)
_KEEP_NO_INPUT = frozenset(
    getattr(place, name)
    for place in (Tensor, torch, F)
    for name in _NO_INPUT.split()
    if hasattr(place, name)
)


def keeps_no_input(func: Callable[..., Any]) -> bool:
    """Whether the graph of an operator is known to keep none of its inputs."""
    return func in _KEEP_NO_INPUT


def with_aliases(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call ``func``, its graph keeping aliases, unless hooks are barred or others' are in place."""
    if not saved_tensors_hooks_allowed() or saved_tensors_hooks() is not None:
        return func(*args, **kwargs)
    with _ALIASES:
        return func(*args, **kwargs)


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


# Made once: it holds nothing, and every thread has a stack of its own that it is put on.
_ALIASES = torch.autograd.graph.saved_tensors_hooks(_alias, _unchanged)
