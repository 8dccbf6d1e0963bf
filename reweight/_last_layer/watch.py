"""Seeing modules run, during one forward pass."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook

from reweight._last_layer.cut import Place, place_of
from reweight._torch_internals import (
    anything_compiled,
    is_wrapped,
    parameter_slots,
    unwrapped_tensor,
    without_function_modes,
)


class Noted(Protocol):
    """What is told of every execution of a layer."""

    layer: nn.Module | None

    def note(
        self,
        layer: nn.Module,
        times: int,
        args: Any,
        kwargs: Any,
        output: tuple[GradientEdge, torch.Size] | str | None,
        place: Place | None = None,
    ) -> None:
        """Take in one execution.

        Args:
            layer: Which layer ran.
            times: How often it has, this time included.
            args: Positional arguments.
            kwargs: Keyword arguments.
            output: Where the output stands in the graph, and its shape; why it cannot be seen;
                ``None`` where it is not one tensor.
            place: Where the output stands, if the graph may be cut there.
        """
        ...

    def passed(self, place: Place) -> None:
        """Take in the output of a module that has no such parameters, and ran after the layer."""
        ...


class Watch:
    """Tells layers from the modules they are in, by who runs inside whom.

    Args:
        noted: Told of every execution of a layer.
        wanted: The layer asked for, if one was.
        anchors: Whether to leave something in the graph where a layer's output stands.
    """

    def __init__(
        self, noted: Noted, wanted: nn.Module | None = None, *, anchors: bool = False
    ) -> None:
        self._noted = noted
        self._wanted = wanted
        self._anchors = anchors
        self._open: list[bool] = []  # for each running module: did a layer run inside it?
        self._times: dict[nn.Module, int] = {}

    def enter(self, part: nn.Module, args: Any) -> None:  # noqa: ARG002
        """Before a module runs."""
        self._open.append(False)

    def leave(self, part: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        """After it has."""
        inner = self._open.pop() if self._open else False
        if inner and self._wanted is None:
            return
        self.made(part, args, kwargs, output)

    def passed(self, output: Any) -> None:
        """Note where the output of a module is that ended after the layer, if cuts are made."""
        if not self._anchors or not isinstance(output, Tensor):
            return
        with without_function_modes():
            if output.requires_grad and not is_wrapped(output):
                place = place_of(output)
                if place is not None:
                    self._noted.passed(place)

    def lost(self) -> None:
        """Note that another layer was last, of which nothing can be told."""
        self._noted.layer = None

    def made(self, part: nn.Module, args: Any, kwargs: Any, output: Any) -> bool:
        """Note that ``part`` ran as a layer, if its output needs a gradient; return whether."""
        # Modes would see every flag that is read here.
        with without_function_modes():
            if not _needs_gradient(output):
                return False
            self._open[:] = [True] * len(self._open)
            self._times[part] = self._times.get(part, 0) + 1
            where: tuple[GradientEdge, torch.Size] | str | None = None
            place: Place | None = None
            if isinstance(output, Tensor):
                if is_wrapped(output):
                    where = "it runs inside a transform of torch.func, which hides its graph"
                else:
                    where = get_gradient_edge(output), output.shape
                    place = place_of(output) if self._anchors else None
            self._noted.note(part, self._times[part], args, kwargs, where, place)
            return True


def can_be_a_hint(layer: nn.Module) -> bool:
    """Whether a layer can be watched without those before it: it is trained, and holds no other.

    Nor where something is compiled, which would be so once more with hooks of all modules.
    """
    return (
        not anything_compiled()
        and not isinstance(layer, torch.jit.ScriptModule)
        and next(layer.children(), None) is None
        and any(p is not None and p.requires_grad for p in parameter_slots(layer).values())
    )


@contextmanager
def watching_what_follows(
    watch: Watch, hint: nn.Module, layers: Callable[[], list[nn.Module]], *, partial: bool
) -> Iterator[None]:
    """Watch ``hint``, and from when it has run every module that runs after it.

    What ran before it does not matter, for it ran later; what it runs inside of is no layer, for
    a layer has run inside that. So nothing is hooked but one module, and few see the hooks of
    all modules that are in place afterwards.

    Args:
        watch: Told of what runs.
        hint: A module without modules inside.
        layers: All modules that may be layers; asked if one with parameters runs after the hint.
        partial: Whether the hint's gradients alone are recorded in this pass.
    """
    following = _Following(watch, hint, layers, partial=partial)
    with ExitStack() as stack:

        def left(part: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            following.hint_left(part, args, kwargs, output)
            if not following.armed:
                following.armed = True
                stack.callback(register_module_forward_pre_hook(following.enter).remove)
                stack.callback(register_module_forward_hook(following.leave).remove)

        stack.callback(hint.register_forward_hook(left, with_kwargs=True).remove)
        yield


class _Following:
    """The modules that run after the hint, in its thread."""

    def __init__(
        self, watch: Watch, hint: nn.Module, layers: Callable[[], list[nn.Module]], *, partial: bool
    ) -> None:
        self.armed = False
        self._watch, self._hint, self._layers = watch, hint, layers
        self._thread = threading.get_ident()
        self._running: list[list[Any]] = []  # a module, and whether a layer ran inside it
        self._partial = partial
        # In a pass of its own other tensors stand where the parameters are.
        self._known: set[nn.Module] | None = set(layers()) if partial else None

    def enter(self, part: nn.Module, args: Any) -> None:  # noqa: ARG002
        if threading.get_ident() == self._thread:
            self._running.append([part, False])

    def leave(self, part: nn.Module, args: Any, output: Any) -> None:
        if threading.get_ident() != self._thread or part is self._hint:
            return
        self._watch.passed(output)
        if not any(running[0] is part for running in self._running):
            return  # the hint ran inside it
        while self._running[-1][0] is not part:  # these were left by an error
            self._running.pop()
        inner = self._running.pop()[1]
        if inner or not self._is_a_layer(part):
            return
        if self._watch.made(part, args, {}, output):
            self._note_inside()
        elif self._partial and torch.is_grad_enabled():
            self._watch.lost()  # its own gradients are not recorded in this pass

    def hint_left(self, part: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        if self._running and self._running[-1][0] is part:
            self._running.pop()
        if self._watch.made(part, args, kwargs, output):
            self._note_inside()

    def _note_inside(self) -> None:
        for running in self._running:
            running[1] = True

    def _is_a_layer(self, part: nn.Module) -> bool:
        if next(part.parameters(), None) is None:  # as of a loss
            return False
        if self._known is None:
            self._known = set(self._layers())
        return part in self._known


def _needs_gradient(output: Any) -> bool:
    if isinstance(output, Tensor):
        # What a transform wraps around it does not always say so.
        return unwrapped_tensor(output).requires_grad
    if isinstance(output, dict):
        return any(_needs_gradient(value) for value in output.values())
    if isinstance(output, tuple | list):
        return any(_needs_gradient(value) for value in output)
    return False
