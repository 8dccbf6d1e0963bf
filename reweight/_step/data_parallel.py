"""A training pass through ``DistributedDataParallel``, or ``DataParallel``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from reweight._isolation.wrappers import in_several_parts
from reweight._torch_internals import (
    about_to_broadcast,
    learns_static_graph,
    set_to_broadcast,
    tree_flatten,
    tree_unflatten,
)
from reweight._torch_internals import broadcast_buffers as broadcast_buffers_of

Recognise = Callable[[Tensor, Tensor], None]


Wrappers = Sequence[DistributedDataParallel]


def scores_apart(model: nn.Module, wrappers: Wrappers) -> bool:
    """Whether the graph of a training pass must not be differentiated for scores.

    With ``static_graph`` the first backward pass through DDP's output, whoever asks for it, is
    what DDP takes for the iteration to learn the graph from, and reduces gradients at its end.
    """
    return in_several_parts(model) or any(map(learns_static_graph, wrappers))


def broadcast_buffers(wrappers: Wrappers) -> None:
    """Bring the buffers of rank 0 to all ranks, as DDP is about to do in the training pass.

    Scoring passes, which come before it, shall start from the same ones.
    """
    for ddp in filter(about_to_broadcast, wrappers):
        broadcast_buffers_of(ddp)


@contextmanager
def data_parallel_pass(
    wrappers: Wrappers,
    *,
    recognise: Recognise | None,
    also_used: Iterable[Tensor],
    compiled: bool,
) -> Iterator[None]:
    """Run the training pass in the body, :func:`broadcast_buffers` having been called.

    With ``find_unused_parameters``, and in the first step with ``static_graph``, DDP leads the
    model's outputs through a function of its own, which changes nothing.

    Args:
        wrappers: What is around the model, or inside.
        recognise: Told of every such output, and of the tensor in the model that it is.
        also_used: Parameters that get a gradient from elsewhere than the pass (a trusted term).
            DDP, looking for unused ones, would not know of them.
        compiled: Whether a compiler has a part in the pass.
    """
    also = list(also_used)
    with ExitStack() as stack:
        # A compiled wrapper would be compiled anew: it broadcasts a second time instead.
        if not compiled:
            stack.enter_context(_broadcast_done(wrappers))
        for ddp in wrappers:
            looks = ddp.find_unused_parameters and not ddp.static_graph
            if (looks and also) or (recognise and (looks or learns_static_graph(ddp))):
                stack.enter_context(_seen_through(ddp, recognise, also if looks else []))
        yield


@contextmanager
def _broadcast_done(wrappers: Wrappers) -> Iterator[None]:
    done = list(filter(about_to_broadcast, wrappers))
    for ddp in done:
        set_to_broadcast(ddp, due=False)
    try:
        yield
    except BaseException:
        for ddp in done:
            set_to_broadcast(ddp, due=True)
        raise


@contextmanager
def _seen_through(
    ddp: DistributedDataParallel, recognise: Recognise | None, also: Sequence[Tensor]
) -> Iterator[None]:
    inside: list[Any] = []

    def leaves_module(module: nn.Module, args: Any, output: Any) -> Any:  # noqa: ARG001
        leaves, structure = tree_flatten(output)
        where = next((i for i, leaf in enumerate(leaves) if _differentiable(leaf)), None)
        if also and where is not None:
            named = _UsedToo.apply(leaves[where], *also)  # type: ignore[no-untyped-call]
            if recognise is not None:
                recognise(named, leaves[where])
            leaves[where] = named
            output = tree_unflatten(leaves, structure)
        inside[:] = leaves
        return output

    def leaves_wrapper(wrapper: nn.Module, args: Any, output: Any) -> None:  # noqa: ARG001
        leaves = tree_flatten(output)[0]
        if recognise is not None and len(leaves) == len(inside):
            for outer, inner in zip(leaves, inside, strict=True):
                if outer is not inner and _differentiable(outer) and _differentiable(inner):
                    recognise(outer, inner)
        inside.clear()

    handles = [
        ddp.module.register_forward_hook(leaves_module),
        ddp.register_forward_hook(leaves_wrapper, prepend=True),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _differentiable(value: Any) -> bool:
    return isinstance(value, Tensor) and value.requires_grad


class _UsedToo(torch.autograd.Function):
    """The identity, which says of further tensors that they are used, and gives them nothing."""

    @staticmethod
    def forward(ctx: Any, output: Tensor, *also: Tensor) -> Tensor:
        ctx.set_materialize_grads(False)
        ctx.count = len(also)
        return output.view_as(output)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor | None) -> tuple[Tensor | None, ...]:
        return (gradient, *[None] * ctx.count)
