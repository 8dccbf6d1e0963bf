"""What is put around a model or a pass: autocast, ``DistributedDataParallel``."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn.parallel import DistributedDataParallel


@contextmanager
def entering_autocast(way: Callable[[Callable[[Any], Any], Any], Any]) -> Iterator[None]:
    """Let ``torch.autocast`` be entered by ``way`` in the body, by this thread.

    Args:
        way: Called with PyTorch's own way in, and the ``torch.autocast`` that is entered.
    """
    original: Any = torch.autocast.__enter__
    thread = threading.get_ident()

    def enter(context: Any) -> Any:
        if threading.get_ident() != thread:
            return original(context)
        return way(original, context)

    torch.autocast.__enter__ = enter  # type: ignore[method-assign]
    try:
        yield
    finally:
        torch.autocast.__enter__ = original  # type: ignore[method-assign]


def enables_autocast(context: torch.autocast) -> bool:
    """Whether entering ``context`` turns autocast on."""
    return bool(context._enabled)


@contextmanager
def turned_off(context: torch.autocast) -> Iterator[None]:
    """Let ``context``, where it is entered in the body, turn autocast off."""
    wanted, context._enabled = context._enabled, False
    try:
        yield
    finally:
        context._enabled = wanted


def learns_static_graph(ddp: DistributedDataParallel) -> bool:
    """Whether the next backward pass is the one that ``static_graph`` learns the graph from."""
    # Where the attribute is not known, it is taken to be the first iteration still.
    return bool(ddp.static_graph) and not getattr(
        ddp, "_static_graph_delay_allreduce_enqueued", False
    )


def about_to_broadcast(ddp: DistributedDataParallel) -> bool:
    """Whether ``ddp`` broadcasts its buffers before its next forward pass, by itself."""
    due: bool = ddp.will_sync_module_buffers()  # type: ignore[no-untyped-call]
    return due and not hasattr(ddp, "buffer_hook")


def broadcast_buffers(ddp: DistributedDataParallel) -> None:
    """Bring the buffers of rank 0 to all ranks now."""
    ddp._sync_buffers()  # type: ignore[no-untyped-call]


def set_to_broadcast(ddp: DistributedDataParallel, due: bool) -> None:
    """Say whether ``ddp`` is to broadcast its buffers before its next forward pass."""
    ddp.require_forward_param_sync = due


def takes_uneven_inputs(ddp: DistributedDataParallel) -> bool:
    """Whether ``Join`` stands in for ranks that have no batch left, or has, at any time before."""
    return bool(getattr(getattr(ddp, "_join_config", None), "enable", False))
