"""Which layer of a model was executed last, with what input, and where it stands in the graph."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge
from torch.nn.modules.module import register_module_forward_hook
from torch.nn.utils.parametrize import ParametrizationList

from reweight._last_layer.cut import Cut, Place
from reweight._last_layer.scripted import last_scripted_layer
from reweight._last_layer.watch import Watch, can_be_a_hint, watching_what_follows
from reweight._torch_internals import anything_compiled, parameter_slots, unwrapped_tensor


@dataclass(frozen=True)
class LayerCall:
    """One execution of a layer.

    Attributes:
        args: Positional arguments.
        kwargs: Keyword arguments.
        edge: Where the output stands in the graph, as it left the layer (an in-place activation
            after it changes the tensor, not this). ``None`` where the output is not one tensor.
        shape: Shape of the output, where it is one tensor.
        place: The same, where the graph may be cut there.
    """

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    edge: GradientEdge | None
    shape: torch.Size | None
    place: Place | None = None


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
        hint: The layer that alone was watched, with what ran after it.
        places: Outputs of modules that ended after the layer, in order.
        cut: What scores were taken from, where the training pass may go on from it.
    """

    root: nn.Module
    layer: nn.Module | None = None
    parameters: dict[str, Tensor] = field(default_factory=dict)
    calls: list[LayerCall] = field(default_factory=list)
    complete: bool = True
    unseen: str = ""
    training: bool = True
    hint: nn.Module | None = None
    places: list[Place] = field(default_factory=list)
    cut: Cut | None = None

    @property
    def as_hinted(self) -> bool:
        """Whether the layer that was watched, if it was one alone, was the last one."""
        return self.hint is None or self.layer is self.hint

    def note(
        self,
        layer: nn.Module,
        times: int,
        args: Any,
        kwargs: Any,
        output: tuple[GradientEdge, torch.Size] | str | None,
        place: Place | None = None,
    ) -> None:
        """Take in one execution of a layer, as :class:`~reweight._last_layer.watch.Noted` says."""
        if layer is not self.layer:
            self.layer, self.calls, self.unseen = layer, [], ""
        self.parameters = {
            name: unwrapped_tensor(p) for name, p in layer.named_parameters() if p.requires_grad
        }
        edge, shape = output if isinstance(output, tuple) else (None, None)
        if isinstance(output, str):
            self.unseen = output
        self.calls.append(LayerCall(args, kwargs, edge, shape, place))
        self.complete = times == len(self.calls)
        self.places.clear()

    def passed(self, place: Place) -> None:
        """Take in where the output of a later module stands, once."""
        known = self.places[-1].edge if self.places else self.calls[-1].edge if self.calls else None
        if known is None or known != place.edge:
            self.places.append(place)

    def path(self) -> str | None:
        """Return the layer's name in the model."""
        named = self.root.named_modules()
        return next((name for name, part in named if part is self.layer), None)

    def name(self) -> str:
        """Return what to call the layer in a sentence."""
        kind, path = type(self.layer).__name__, self.path()
        return f"layer {path!r} ({kind})" if path else f"the whole model ({kind})"


@contextmanager
def trace_last_layer(
    module: nn.Module,
    wanted: nn.Module | None = None,
    hint: nn.Module | None = None,
    *,
    partial_pass: bool = False,
) -> Iterator[LayerTrace]:
    """Watch a forward pass of ``module`` in the body.

    A *layer* is an innermost module with trainable parameters: none of the modules that ran
    inside it has any. (``nn.MultiheadAttention``, which uses its inner projection's weights
    without calling it, is one layer.) A module whose output needs no gradient, such as one under
    ``torch.no_grad``, is none.

    Args:
        module: The model, without wrappers.
        wanted: The layer to watch instead of the last one.
        hint: The layer that was last in an earlier pass. It alone is watched then, and what runs
            after it; unless ``trace.as_hinted`` says that it was last again, the pass has to be
            made once more without a hint.
        partial_pass: Whether only the hint's gradients are recorded in this pass.
    """
    trace = LayerTrace(module, training=module.training)
    anchors = not partial_pass and not anything_compiled()
    if wanted is None and hint is not None and can_be_a_hint(hint):
        trace.hint = hint
        layers = partial(_trainable_modules, module)
        with watching_what_follows(
            Watch(trace, anchors=anchors), hint, layers, partial=partial_pass
        ):
            yield trace
        return
    parts, opaque = _watched(module, wanted)
    watch = Watch(trace, wanted, anchors=anchors and wanted is not None)
    handles = []
    for part in parts:
        handles.append(part.register_forward_pre_hook(watch.enter))
        handles.append(part.register_forward_hook(watch.leave, with_kwargs=True))
    if opaque:  # these take no hooks of their own

        def scripted(part: nn.Module, args: Any, output: Any) -> None:
            if part in opaque:
                watch.made(opaque[part] or last_scripted_layer(part), args, {}, output)
                trace.unseen = "TorchScript runs it, and shows nothing of what happens inside"

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
        return [wanted] if any(p.requires_grad for p in wanted.parameters()) else [], {}
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
