"""Following a forward pass, operator by operator."""

from __future__ import annotations

from collections.abc import Callable, Iterable, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import Node, get_gradient_edge
from torch.overrides import TorchFunctionMode
from typing_extensions import override

from reweight._derivative.beside_training.arguments import tensors_in
from reweight._derivative.beside_training.call import Call
from reweight._derivative.beside_training.foreign import changes_operators, modes_in_place
from reweight._derivative.beside_training.precision import by_rule
from reweight._derivative.beside_training.rerun import Rerun
from reweight._derivative.beside_training.rules import RULES, Rule
from reweight._derivative.beside_training.saved_tensors import aliases
from reweight._isolation.scoring_mode import works_in_place
from reweight._torch_internals import (
    WeakIdKeyDictionary,
    anything_compiled,
    dispatch_modes_in_place,
    is_custom_operator,
    is_view,
    leaf_of,
    version,
    without_subclasses,
)


class NotFollowed(RuntimeError):  # noqa: N818 - nothing went wrong for the user
    """Something in the pass could not be followed; its tangents are unknown."""


@dataclass(frozen=True, slots=True)
class _Entry:
    version: int
    node: Node | None
    tangent: Tensor | None


class TangentMode(TorchFunctionMode):
    """Compute ⟨∇y, v⟩ for what the body computes from parameters, beside the body itself.

    What the body computes, and the graph it records, are untouched. Every tensor that requires a
    gradient is known either by its tangent or as one that no tangent reaches; one that turns up
    from elsewhere (a custom function, compiled code), or that changed unseen (through a view), is
    not guessed at: from then on nothing is followed, and :meth:`tangent_of` raises.

    Args:
        direction: Parameters, and v for each.
        devices: Devices other than the CPU whose random numbers the body may draw.
    """

    def __init__(
        self, direction: Iterable[tuple[Tensor, Tensor]], devices: Sequence[torch.device] = ()
    ) -> None:
        super().__init__()
        self._devices = devices
        self._entries: MutableMapping[Tensor, _Entry] = WeakIdKeyDictionary()
        self._failure: str | None = None
        self._entered = False
        for parameter, v in direction:
            self._entries[parameter] = _Entry(version(parameter), None, v)

    @override
    def __enter__(self) -> TangentMode:
        if modes_in_place():
            self._fail("modes of others see, and may change, the operators.")
        elif anything_compiled():
            self._fail("some of the operators may be compiled.")
        else:
            super().__enter__()  # type: ignore[no-untyped-call]
            self._entered = True
        return self

    @override
    def __exit__(self, *exception: Any) -> None:
        if self._entered:
            super().__exit__(*exception)  # type: ignore[no-untyped-call]

    def tangent_of(self, value: Tensor) -> Tensor:
        """Return the tangent of what the body computed, in its shape.

        Raises:
            NotFollowed: If something on the way to it could not be followed.
        """
        if self._failure is not None:
            raise NotFollowed(self._failure)
        tangent = self._tangent(value)
        return torch.zeros_like(value) if tangent is None else tangent

    def same(self, value: Tensor, source: Tensor) -> None:
        """Say that ``value``, from where operators are not seen, is ``source`` and no other."""
        if self._failure is not None:
            return
        try:
            tangent = self._tangent(source)
        except NotFollowed as error:
            self._fail(str(error))
        else:
            self._entries[value] = _Entry(version(value), value.grad_fn, tangent)

    @override
    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if torch.compiler.is_compiling():  # it traces these lines; what it has is not seen again
            return func(*args, **kwargs)
        if self._failure is not None or not torch.is_grad_enabled():
            return func(*args, **kwargs)
        try:
            step = self._before(func, types, args, kwargs)
        except Exception as error:
            self._fail(f"{type(error).__name__}: {error}")
            return func(*args, **kwargs)
        if step is None:
            return func(*args, **kwargs)
        with aliases():
            out = func(*args, **kwargs)
        try:
            step(out)
        except Exception as error:
            self._fail(f"{type(error).__name__}: {error}")
        return out

    def _fail(self, reason: str) -> None:
        # Not the exception: its traceback would keep every activation in reach.
        self._failure = reason
        self._entries.clear()

    def _before(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Callable[[Any], None] | None:
        """Look at an operator before it runs, and return what to do with its results."""
        with without_subclasses():
            inputs = [x for x in tensors_in((args, kwargs)) if x.requires_grad]
        if not inputs:
            return None
        if is_custom_operator(func):
            raise NotFollowed(f"{func} is not an operator of PyTorch's own.")
        if changes_operators(types) or dispatch_modes_in_place():
            raise NotFollowed(f"a tensor subclass or a mode may change what {func} does.")
        try:
            tangents = {id(x): t for x in inputs if (t := self._tangent(x)) is not None}
        except NotFollowed as unknown:
            return _constant_or(str(unknown))
        versions = [version(x) for x in inputs]
        in_place = works_in_place(func, args, kwargs)
        rule = RULES.get(func)
        # It may draw random numbers, or write over what it reads.
        rerun = (
            Rerun(func, args, kwargs, tangents, self._devices) if tangents and not rule else None
        )

        def after(out: Any) -> None:
            found = list(tensors_in((out, args[:1] if in_place else ())))
            if not any(x.requires_grad for x in found):
                return
            known: list[Tensor | None] = [None] * len(found)
            if rule is not None and tangents:
                known = self._by_rule(rule, Call(func, args, kwargs, out, tangents), in_place)
            elif rerun is not None:
                known = rerun.tangents()
            for x, tangent in zip(found, known, strict=True):
                if not x.is_leaf:
                    self._entries[x] = _Entry(version(x), x.grad_fn, tangent)
            for x, before in zip(inputs, versions, strict=True):
                if version(x) != before and all(x is not y for y in found):
                    raise NotFollowed(f"{func} changed an input in place.")

        return after

    def _by_rule(self, rule: Rule, call: Call, in_place: bool) -> list[Tensor | None]:
        tangent = by_rule(rule, call)
        if tangent is not None:
            return [tangent, tangent] if in_place else [tangent]
        if in_place:
            raise NotFollowed(f"no rule for this call of {call.operator}, which works in place.")
        return Rerun(call.operator, call.args, call.kwargs, call.tangents, self._devices).tangents()

    def _tangent(self, x: Tensor) -> Tensor | None:
        if not x.requires_grad:
            return None
        entry = self._entries.get(x)
        if entry is None:
            # Of a view, asking for more than that may change what autograd allows.
            if not is_view(x) and x.is_leaf and _is_its_own_leaf(x):
                return None
            raise NotFollowed("a tensor came from where operators are not seen.")
        if entry.version != version(x):
            raise NotFollowed("a tensor was changed in place where operators are not seen.")
        if entry.node is not x.grad_fn:
            raise NotFollowed("a tensor was cut from the graph.")
        return entry.tangent


def _is_its_own_leaf(x: Tensor) -> bool:
    """False for a leaf's alias, such as the graph hands out: its gradient goes to the leaf."""
    return leaf_of(get_gradient_edge(x).node) is x


def _constant_or(reason: str) -> Callable[[Any], None]:
    """Return what refuses results unless they are constants, of which no tangent is asked."""

    def after(out: Any) -> None:
        if any(x.requires_grad for x in tensors_in(out)):
            raise NotFollowed(reason)

    return after
