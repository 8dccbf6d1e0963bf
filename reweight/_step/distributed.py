"""A training pass through ``DistributedDataParallel``, and what of other ranks can't be scored."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils._pytree import tree_flatten, tree_unflatten

from reweight._isolation.compiled import uses_compiler
from reweight._isolation.wrappers import (
    data_parallel_wrappers,
    has_dtensors,
    in_several_parts,
    refuse_sharded,
    sharding,
)

Recognise = Callable[[Tensor, Tensor], None]


def refuse_what_cannot_be_scored(
    model: nn.Module, *, differentiates: bool, drops: bool = False
) -> None:
    """Refuse, when a reweighter is built, what it could not do with ``model`` in a step.

    Args:
        model: The model as it was given.
        differentiates: Whether a scorer, or a trusted term, needs a gradient.
        drops: Whether a batch may be run again without its non-finite samples.

    Raises:
        ValueError: If there is something.
    """
    if drops and _works_with_other_ranks(model):
        raise ValueError(
            'on_nonfinite="drop" runs a batch again without its bad samples, which leaves the '
            "other ranks of a model that is distributed (DistributedDataParallel, FSDP, tensor "
            "parallelism, DeepSpeed) waiting. Filter such samples in the data loader."
        )
    if differentiates:
        refuse_sharded(model)
    if any(getattr(ddp, "mixed_precision", None) for ddp in data_parallel_wrappers(model)):
        raise ValueError(
            "DistributedDataParallel(mixed_precision=...) swaps the parameters under every pass, "
            "scoring passes too: leave it out and train under torch.autocast."
        )


def warn_if_alone(model: nn.Module) -> bool:
    """Warn if several ranks run and ``model`` knows nothing of the others.

    Returns:
        Whether there was something to warn of.
    """
    distributed = sys.modules.get("torch.distributed")
    if distributed is None or not distributed.is_available() or not distributed.is_initialized():
        return False
    if distributed.get_world_size() < 2 or _works_with_other_ranks(model):
        return False
    warnings.warn(
        f"torch.distributed runs {distributed.get_world_size()} ranks, but the model the "
        f"reweighter was given ({type(model).__name__}) is not wrapped, so that every rank trains "
        f"on its own. Most likely the reweighter was built before accelerator.prepare(model) or "
        f"DistributedDataParallel(model): build it afterwards, around what they return.",
        UserWarning,
        stacklevel=2,
    )
    return True


def _works_with_other_ranks(model: nn.Module) -> bool:
    return bool(data_parallel_wrappers(model)) or sharding(model) is not None or has_dtensors(model)


def scores_apart(model: nn.Module) -> bool:
    """Whether the graph of a training pass must not be differentiated for scores.

    With ``static_graph`` the first backward pass through DDP's output, whoever asks for it, is
    what DDP takes for the iteration to learn the graph from, and reduces gradients at its end.
    """
    return in_several_parts(model) or any(map(_learns_the_graph, data_parallel_wrappers(model)))


def _learns_the_graph(ddp: DistributedDataParallel) -> bool:
    # Where the attribute is not known, it is taken to be the first iteration still.
    return bool(ddp.static_graph) and not getattr(
        ddp, "_static_graph_delay_allreduce_enqueued", False
    )


def broadcast_buffers(model: nn.Module) -> None:
    """Bring the buffers of rank 0 to all ranks, as DDP is about to do in the training pass.

    Scoring passes, which come before it, shall start from the same ones.
    """
    for ddp in _about_to_broadcast(model):
        ddp._sync_buffers()  # type: ignore[no-untyped-call]


def _about_to_broadcast(model: nn.Module) -> list[DistributedDataParallel]:
    return [
        ddp
        for ddp in data_parallel_wrappers(model)
        if ddp.will_sync_module_buffers()  # type: ignore[no-untyped-call]
        and not hasattr(ddp, "buffer_hook")
    ]


@contextmanager
def data_parallel_pass(
    model: nn.Module, *, recognise: Recognise | None, also_used: Iterable[Tensor]
) -> Iterator[None]:
    """Run the training pass of ``model`` in the body, :func:`broadcast_buffers` having been called.

    With ``find_unused_parameters``, and in the first step with ``static_graph``, DDP leads the
    model's outputs through a function of its own, which changes nothing.

    Args:
        model: The model as it was given.
        recognise: Told of every such output, and of the tensor in the model that it is.
        also_used: Parameters that get a gradient from elsewhere than the pass (a trusted term).
            DDP, looking for unused ones, would not know of them.
    """
    also = list(also_used)
    with ExitStack() as stack:
        stack.enter_context(_broadcast_done(model))
        for ddp in data_parallel_wrappers(model):
            looks = ddp.find_unused_parameters and not ddp.static_graph
            if (looks and also) or (recognise and (looks or _learns_the_graph(ddp))):
                stack.enter_context(_seen_through(ddp, recognise, also if looks else []))
        yield


@contextmanager
def _broadcast_done(model: nn.Module) -> Iterator[None]:
    # A compiled wrapper would be compiled anew: it broadcasts a second time instead.
    done = [] if uses_compiler(model) else _about_to_broadcast(model)
    for ddp in done:
        ddp.require_forward_param_sync = False
    try:
        yield
    except BaseException:
        for ddp in done:
            ddp.require_forward_param_sync = True
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
