"""Following a forward pass, operator by operator."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import get_gradient_edge
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from typing_extensions import override

from reweight._derivative.beside_training.arguments import differentiable_in, tensors_in
from reweight._derivative.beside_training.call import Call, Rule
from reweight._derivative.beside_training.foreign import changes_operators, modes_in_place
from reweight._derivative.beside_training.known import Known
from reweight._derivative.beside_training.operators import Operator, operator_of
from reweight._derivative.beside_training.precision import by_rule
from reweight._derivative.beside_training.rules import may_refuse, rule_for
from reweight._derivative.beside_training.saved_tensors import with_aliases
from reweight._derivative.beside_training.seen import Seen
from reweight._isolation.scoring_mode import NEVER, in_place_there
from reweight._isolation.scoring_pass import repeatable_attention
from reweight._torch_internals import (
    anything_compiled,
    body_of,
    dispatch_modes_in_place,
    is_view,
    leaf_of,
    version,
)


class NotFollowed(RuntimeError):  # noqa: N818 - nothing went wrong for the user
    """Something in the pass could not be followed; its tangents are unknown."""


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
        self._entries = Known()
        self._failure: str | None = None
        self._entered = False
        for parameter, v in direction:
            self._entries.note(parameter, None, v)

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
        tangent = self._tangent(value) if value.requires_grad else None
        return torch.zeros_like(value) if tangent is None else tangent

    def same(self, value: Tensor, source: Tensor) -> None:
        """Say that ``value``, from where operators are not seen, is ``source`` and no other."""
        if self._failure is not None:
            return
        try:
            tangent = self._tangent(source) if source.requires_grad else None
        except NotFollowed as error:
            self._fail(str(error))
        else:
            self._entries.note(value, value.grad_fn, tangent)

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
        if func is F.multi_head_attention_forward and not changes_operators(types):
            with self:  # made of operators that have rules
                return body_of(F.multi_head_attention_forward)(*args, **kwargs)
        operator = operator_of(func)
        # Most of what a mode sees is attributes: shapes, flags, devices.
        if operator.looks:
            return func(*args, **kwargs)
        if operator.draws_by_rule and may_refuse(Call(func, args, kwargs, None, {})):
            with repeatable_attention():
                return self._followed(operator, func, types, args, kwargs)
        return self._followed(operator, func, types, args, kwargs)

    def _followed(
        self,
        operator: Operator,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        try:
            seen = self._before(operator, func, types, args, kwargs)
        except Exception as error:
            self._fail(f"{type(error).__name__}: {error}")
            return func(*args, **kwargs)
        if seen is None:
            return func(*args, **kwargs)
        if operator.aliased and seen.tangents:
            out = with_aliases(func, args, kwargs)
        else:
            out = func(*args, **kwargs)
        try:
            self._after(seen, out)
        except Exception as error:
            self._fail(f"{type(error).__name__}: {error}")
        return out

    def _fail(self, reason: str) -> None:
        # Not the exception: its traceback would keep every activation in reach.
        self._failure = reason
        self._entries.clear()

    def _before(
        self,
        operator: Operator,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Seen | None:
        """Look at an operator's inputs before it runs; ``None`` if its results are constants."""
        inputs = differentiable_in(args, kwargs)
        if not inputs:
            return None
        if operator.custom:
            raise NotFollowed(f"{func} is not an operator of PyTorch's own.")
        if (types and changes_operators(types)) or dispatch_modes_in_place():
            raise NotFollowed(f"a tensor subclass or a mode may change what {func} does.")
        place = operator.inplace
        in_place = place != NEVER and in_place_there(place, args, kwargs)
        versions: list[int] = []
        tangents: dict[int, Tensor] = {}
        seen = Seen(operator, func, args, kwargs, inputs, versions, tangents, in_place)
        try:
            for x in inputs:
                now = version(x)
                versions.append(now)
                tangent = self._tangent(x, now)
                if tangent is not None:
                    tangents[id(x)] = tangent
        except NotFollowed as unknown:
            seen.unknown = str(unknown)
            return seen
        if tangents:
            if operator.rule is not None and not in_place and not operator.draws_by_rule:
                seen.rule = operator.rule
            else:
                self._choose(seen)
        return seen

    def _choose(self, seen: Seen) -> None:
        """Choose what will compute the tangents, and keep what a second run would take."""
        unsure = False
        if seen.operator.rule is not None:
            asked = seen.returned(None)
            seen.rule, unsure = rule_for(asked, seen.in_place), may_refuse(asked)
        if seen.rule is None or unsure:  # it may draw random numbers, or write over what it reads
            seen.rerun = seen.to_rerun(self._devices)

    def _after(self, seen: Seen, out: Any) -> None:
        """Note the tangents of an operator's results."""
        if seen.unknown:
            # Constants are no matter: no tangent is asked of them.
            if any(x.requires_grad for x in tensors_in(out)):
                raise NotFollowed(seen.unknown)
            return
        in_place = seen.in_place
        if type(out) is Tensor and not in_place:
            found, moves = [out], out.requires_grad
        else:
            found = list(tensors_in((out, seen.args[:1] if in_place else ())))
            moves = any(x.requires_grad for x in found)
        if not moves:
            return
        known: list[Tensor | None] = [None] * len(found)
        if seen.rule is not None:
            known = self._by_rule(seen.rule, seen, out, len(found))
        elif seen.rerun is not None:
            known = seen.rerun.tangents()
        for x, tangent in zip(found, known, strict=True):
            if not x.is_leaf:
                if tangent is not None and tangent.dtype != x.dtype:  # as under autocast
                    tangent = tangent.to(x.dtype)
                self._entries.note(x, x.grad_fn, tangent)
        for x, before in zip(seen.inputs, seen.versions, strict=True):
            if version(x) != before and all(x is not y for y in found):
                raise NotFollowed(f"{seen.func} changed an input in place.")

    def _by_rule(self, rule: Rule, seen: Seen, out: Any, results: int) -> list[Tensor | None]:
        found = by_rule(rule, seen.returned(out))
        if found is not None:
            if isinstance(found, Tensor):  # of what is changed in place and returned, too
                return [found] * results
            return list(found)
        if seen.in_place:
            raise NotFollowed(f"no rule for this call of {seen.func}, which works in place.")
        return (seen.rerun or seen.to_rerun(self._devices)).tangents()

    def _tangent(self, x: Tensor, now: int | None = None) -> Tensor | None:
        """Return the tangent of ``x``, which requires a gradient; ``None`` if none reaches it.

        Args:
            x: The tensor.
            now: Its version, if it is known.
        """
        entry = self._entries.get(id(x))
        if entry is None or entry() is not x:
            # Of a view, asking for more than that may change what autograd allows.
            if not is_view(x) and x.is_leaf and _is_its_own_leaf(x):
                return None
            raise NotFollowed("a tensor came from where operators are not seen.")
        if entry.version != (version(x) if now is None else now):
            raise NotFollowed("a tensor was changed in place where operators are not seen.")
        if entry.node is not x.grad_fn:
            raise NotFollowed("a tensor was cut from the graph.")
        return entry.tangent


def _is_its_own_leaf(x: Tensor) -> bool:
    """False for a leaf's alias, such as the graph hands out: its gradient goes to the leaf."""
    return leaf_of(get_gradient_edge(x).node) is x
