"""Which layer of a model was executed last, with what input, and where it stands in the graph."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.nn.utils.parametrize import ParametrizationList

from reweight._torch_internals import parameter_slots


@dataclass(frozen=True)
class LayerCall:
    """One execution of a layer.

    Attributes:
        args: Positional arguments.
        kwargs: Keyword arguments.
        edge: Where the output stands in the graph, as it left the layer (an in-place activation
            after it changes the tensor, not this). ``None`` where the output is not one tensor.
        shape: Shape of the output, where it is one tensor.
    """

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    edge: GradientEdge | None
    shape: torch.Size | None


@dataclass
class LayerTrace:
    """The last layer of one forward pass.

    Attributes:
        layer: The last layer executed, or the one asked for.
        parameters: Its trainable parameters as that pass used them, by their name in the layer.
        calls: Its executions, in order.
        complete: Whether ``calls`` holds all of them. It does not where other layers ran between
            two executions: keeping every layer's input would hold memory the model had let go.
    """

    layer: nn.Module | None = None
    parameters: dict[str, Tensor] = field(default_factory=dict)
    calls: list[LayerCall] = field(default_factory=list)
    complete: bool = True


@contextmanager
def trace_last_layer(module: nn.Module, wanted: nn.Module | None = None) -> Iterator[LayerTrace]:
    """Watch a forward pass of ``module`` in the body.

    A *layer* is an innermost module with trainable parameters: none of the modules that ran
    inside it has any. (``nn.MultiheadAttention``, which uses its inner projection's weights
    without calling it, is one layer.) A module whose output needs no gradient, such as one under
    ``torch.no_grad``, is none.

    Args:
        module: The model, without wrappers.
        wanted: The layer to watch instead of the last one.
    """
    trace = LayerTrace()
    open_modules: list[bool] = []  # for each running module: did a layer run inside it?
    counts: dict[nn.Module, int] = {}

    def enter(part: nn.Module, args: Any) -> None:  # noqa: ARG001
        open_modules.append(False)

    def leave(part: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        inner = open_modules.pop() if open_modules else False
        if inner and wanted is None:
            return
        if not _needs_gradient(output):
            return
        open_modules[:] = [True] * len(open_modules)
        counts[part] = counts.get(part, 0) + 1
        if part is not trace.layer:
            trace.layer, trace.calls = part, []
        trace.parameters = {n: p for n, p in part.named_parameters() if p.requires_grad}
        single = isinstance(output, Tensor)
        trace.calls.append(
            LayerCall(
                args,
                kwargs,
                get_gradient_edge(output) if single else None,
                output.shape if single else None,
            )
        )
        trace.complete = counts[part] == len(trace.calls)

    handles = []
    trainable = _trainable_modules(module if wanted is None else wanted)
    for part in trainable if wanted is None else trainable[-1:]:
        handles.append(part.register_forward_pre_hook(enter))
        handles.append(part.register_forward_hook(leave, with_kwargs=True))
    try:
        yield trace
    finally:
        for handle in handles:
            handle.remove()


def _trainable_modules(module: nn.Module) -> list[nn.Module]:
    """Return the modules with trainable parameters in or below them, in one walk."""
    found: list[nn.Module] = []
    seen: dict[nn.Module, bool] = {}

    def walk(part: nn.Module) -> bool:
        if isinstance(part, ParametrizationList):
            # What computes a weight inside a layer is part of that layer, not one itself.
            return any(p.requires_grad for p in part.parameters())
        if part not in seen:
            seen[part] = False  # a module that holds itself ends here
            inside = [walk(child) for child in part.children()]
            own = any(p is not None and p.requires_grad for p in parameter_slots(part).values())
            seen[part] = own or any(inside)
            if seen[part]:
                found.append(part)
        return seen[part]

    walk(module)
    return found


def _needs_gradient(output: Any) -> bool:
    if isinstance(output, Tensor):
        return output.requires_grad
    if isinstance(output, dict):
        return any(_needs_gradient(value) for value in output.values())
    if isinstance(output, tuple | list):
        return any(_needs_gradient(value) for value in output)
    return False
