"""Which layer of a model was executed last, with what input, and where it stands in the graph."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.nn.modules.module import register_module_forward_hook
from torch.nn.utils.parametrize import ParametrizationList

from reweight._last_layer.scripted import last_scripted_layer
from reweight._torch_internals import is_wrapped, parameter_slots, unwrapped_tensor


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
        root: The model.
        layer: The last layer executed, or the one asked for.
        parameters: Its trainable parameters as that pass used them, by their name in the layer.
        calls: Its executions, in order.
        complete: Whether ``calls`` holds all of them. It does not where other layers ran between
            two executions: keeping every layer's input would hold memory the model had let go.
        unseen: Why it could not be watched how the layer made its output; empty where it could.
        training: Whether the model was in train mode.
    """

    root: nn.Module
    layer: nn.Module | None = None
    parameters: dict[str, Tensor] = field(default_factory=dict)
    calls: list[LayerCall] = field(default_factory=list)
    complete: bool = True
    unseen: str = ""
    training: bool = True

    def path(self) -> str | None:
        """Return the layer's name in the model."""
        named = self.root.named_modules()
        return next((name for name, part in named if part is self.layer), None)

    def name(self) -> str:
        """Return what to call the layer in a sentence."""
        kind, path = type(self.layer).__name__, self.path()
        return f"layer {path!r} ({kind})" if path else f"the whole model ({kind})"


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
    trace = LayerTrace(module, training=module.training)
    open_modules: list[bool] = []  # for each running module: did a layer run inside it?
    counts: dict[nn.Module, int] = {}

    def enter(part: nn.Module, args: Any) -> None:  # noqa: ARG001
        open_modules.append(False)

    def leave(part: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        inner = open_modules.pop() if open_modules else False
        if inner and wanted is None:
            return
        made(part, args, kwargs, output)

    def made(part: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        if not _needs_gradient(output):
            return
        open_modules[:] = [True] * len(open_modules)
        counts[part] = counts.get(part, 0) + 1
        if part is not trace.layer:
            trace.layer, trace.calls, trace.unseen = part, [], ""
        trace.parameters = {
            name: unwrapped_tensor(p) for name, p in part.named_parameters() if p.requires_grad
        }
        single = isinstance(output, Tensor)
        if single and is_wrapped(output):
            trace.unseen = "it runs inside a transform of torch.func, which hides its graph"
            single = False
        trace.calls.append(
            LayerCall(
                args,
                kwargs,
                get_gradient_edge(output) if single else None,
                output.shape if single else None,
            )
        )
        trace.complete = counts[part] == len(trace.calls)

    def scripted(part: nn.Module, args: Any, output: Any) -> None:
        if part in opaque:
            made(opaque[part] or last_scripted_layer(part), args, {}, output)
            trace.unseen = "TorchScript runs it, and shows nothing of what happens inside"

    parts, opaque = _watched(module, wanted)
    handles = []
    for part in parts:
        handles.append(part.register_forward_pre_hook(enter))
        handles.append(part.register_forward_hook(leave, with_kwargs=True))
    if opaque:  # these take no hooks of their own
        handles.append(register_module_forward_hook(scripted))
    try:
        yield trace
    finally:
        for handle in handles:
            handle.remove()


def _watched(
    module: nn.Module, wanted: nn.Module | None
) -> tuple[list[nn.Module], dict[nn.Module, nn.Module | None]]:
    """Return the modules to hook; and the scripted ones that run, with the part asked for.

    Inside a scripted module nothing can be watched. When it has run, its parts have.
    """
    if wanted is not None and not isinstance(wanted, torch.jit.ScriptModule):
        return [part for part in _trainable_modules(wanted) if part is wanted], {}
    trainable = _trainable_modules(module)
    scripts = [part for part in trainable if isinstance(part, torch.jit.ScriptModule)]
    if wanted is None:
        return [part for part in trainable if part not in scripts], dict.fromkeys(scripts)
    return [], {s: wanted for s in scripts if any(wanted is part for part in s.modules())}


def _trainable_modules(module: nn.Module) -> list[nn.Module]:
    """Return the modules with trainable parameters in or below them, in one walk."""
    found: list[nn.Module] = []
    _walk(module, found, {})
    return found


def _walk(part: nn.Module, found: list[nn.Module], seen: dict[nn.Module, bool]) -> bool:
    # Not a function within the other: one that calls itself would stay until garbage is collected.
    if isinstance(part, ParametrizationList):
        # What computes a weight inside a layer is part of that layer, not one itself.
        return any(p.requires_grad for p in part.parameters())
    if part not in seen and isinstance(part, torch.jit.ScriptModule):
        seen[part] = any(p.requires_grad for p in part.parameters())
        if seen[part]:
            found.append(part)
    if part not in seen:
        seen[part] = False  # a module that holds itself ends here
        inside = [_walk(child, found, seen) for child in part.children()]
        own = any(p is not None and p.requires_grad for p in parameter_slots(part).values())
        seen[part] = own or any(inside)
        if seen[part]:
            found.append(part)
    return seen[part]


def _needs_gradient(output: Any) -> bool:
    if isinstance(output, Tensor):
        # What a transform wraps around it does not always say so.
        return unwrapped_tensor(output).requires_grad
    if isinstance(output, dict):
        return any(_needs_gradient(value) for value in output.values())
    if isinstance(output, tuple | list):
        return any(_needs_gradient(value) for value in output)
    return False
