"""Following a forward pass, operator by operator."""

from __future__ import annotations

from collections.abc import Callable, Iterable, MutableMapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakIdKeyDictionary
from typing_extensions import override

from reweight.tangents.arguments import tensors_in
from reweight.tangents.call import Call
from reweight.tangents.rerun import Rerun, works_in_place
from reweight.tangents.rules import RULES, Rule
from reweight.tangents.saved_tensors import aliases


class NotFollowed(RuntimeError):  # noqa: N818 - nothing went wrong for the user
    """Something in the pass could not be followed; its tangents are unknown."""


@dataclass(frozen=True, slots=True)
class _Entry:
    version: int
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
        self._failure: Exception | None = None
        for parameter, v in direction:
            self._entries[parameter] = _Entry(parameter._version, v)

    @override
    def __enter__(self) -> TangentMode:
        self._hooks = ExitStack()
        self._hooks.enter_context(aliases())
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    @override
    def __exit__(self, *exception: Any) -> None:
        super().__exit__(*exception)  # type: ignore[no-untyped-call]
        self._hooks.close()

    def tangent_of(self, value: Tensor) -> Tensor:
        """Return the tangent of what the body computed, in its shape.

        Raises:
            NotFollowed: If something on the way to it could not be followed.
        """
        if self._failure is not None:
            raise NotFollowed(str(self._failure)) from self._failure
        tangent = self._tangent(value)
        return torch.zeros_like(value) if tangent is None else tangent

    @override
    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if self._failure is not None or not torch.is_grad_enabled():
            return func(*args, **kwargs)
        inputs = [x for x in tensors_in((args, kwargs)) if x.requires_grad]
        if not inputs:
            return func(*args, **kwargs)
        try:
            step = self._before(func, args, kwargs, inputs)
        except Exception as error:
            self._failure = error
            return func(*args, **kwargs)
        out = func(*args, **kwargs)
        try:
            step(out)
        except Exception as error:
            self._failure = error
        return out

    def _before(
        self,
        func: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        inputs: list[Tensor],
    ) -> Callable[[Any], None]:
        """Look at an operator before it runs, and return what to do with its results."""
        tangents = {id(x): t for x in inputs if (t := self._tangent(x)) is not None}
        versions = [x._version for x in inputs]
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
                if x.requires_grad:
                    self._entries[x] = _Entry(x._version, tangent)
            for x, version in zip(inputs, versions, strict=True):
                if x._version != version and all(x is not y for y in found):
                    raise NotFollowed(f"{func} changed an input in place.")

        return after

    def _by_rule(self, rule: Rule, call: Call, in_place: bool) -> list[Tensor | None]:
        with torch.no_grad():
            tangent = rule(call)
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
            if x.is_leaf:
                return None
            raise NotFollowed("a tensor came from where operators are not seen.")
        if entry.version != x._version:
            raise NotFollowed("a tensor was changed in place where operators are not seen.")
        return entry.tangent
