"""Copies of containers, tensors and objects of any class, their sharing kept."""

from __future__ import annotations

import copy
import random
import sys
import types
import weakref
from array import array
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from reweight._isolation.fields import fields_of, is_opaque
from reweight._isolation.tensor_copies import TensorCopies

_NOTHING = object()
Fill = Callable[["Copies", Any, Any], None]


class Copies:
    """Copies made so far, by what they are copies of, which is kept alive for its ``id``."""

    def __init__(self) -> None:
        self._made: dict[int, tuple[Any, Any]] = {}
        self._tensors = TensorCopies()
        self._unfilled: deque[tuple[Fill, Any, Any]] = deque()

    def complete(self, value: Any) -> Any:
        """Return a copy in which nothing is missing, a key of a dict, say: its hash may need it."""
        others, self._unfilled = self._unfilled, deque()
        made = self.of(value)
        while self._unfilled:
            fill, own, other = self._unfilled.popleft()
            fill(self, own, other)
        self._unfilled = others
        return made

    def of(self, value: Any) -> Any:
        """Return the copy of ``value``; its parts may come later: a long chain is no recursion."""
        kind = type(value)
        if kind in _CONSTANT or value is None:
            return value
        made = self._made.get(id(value), _NOTHING)
        if isinstance(made, tuple):
            return made[1]
        if isinstance(value, Tensor):
            return self._keep(value, self._tensor(value))
        if isinstance(value, tuple | frozenset):
            return self._immutable(value)
        for base, fill in _FILLED:
            if isinstance(value, base):
                return self._filled(value, base, fill)
        special = self._special(value)
        if special is not _NOTHING:
            return self._keep(value, special)
        return self._object(value)

    def _keep(self, value: Any, made: Any) -> Any:
        self._made[id(value)] = value, made
        return made

    def _tensor(self, value: Tensor) -> Tensor:
        made = self._tensors.of(value)
        # What a subclass wraps belongs to its own clone(); what a user hangs on a tensor does not.
        state = getattr(value, "__dict__", None)
        if state and not hasattr(value, "__tensor_flatten__"):
            self._keep(value, made)
            made.__dict__.update({name: self.of(each) for name, each in state.items()})
        return made

    def _immutable(self, value: Any) -> Any:
        inside = self.complete if isinstance(value, frozenset) else self.of
        parts = [inside(part) for part in value]
        made = self._made.get(id(value), _NOTHING)  # one of its parts may lead back to it
        if isinstance(made, tuple):
            return made[1]
        own = getattr(value, "__dict__", None)
        if not own and all(new is old for new, old in zip(parts, value, strict=True)):
            return value
        other = self._keep(value, with_parts(value, parts))
        if own:
            other.__dict__.update({name: self.of(each) for name, each in own.items()})
        return other

    def _filled(self, value: Any, base: Any, fill: Fill) -> Any:
        try:
            other = base.__new__(type(value))
        except TypeError:  # made in another language: nobody else knows what it holds
            return self._keep(value, value)
        self._unfilled.append((fill, value, other))
        return self._keep(value, other)

    def _special(self, value: Any) -> Any:
        if isinstance(value, torch.Generator):
            return value.clone_state()
        if isinstance(value, bytearray | array):
            return value[:]
        if isinstance(value, types.MappingProxyType):
            return types.MappingProxyType(self.of(dict(value)))
        if isinstance(value, weakref.ref):
            target = value()
            known = None if target is None else self._made.get(id(target))
            return value if known is None else weakref.ref(known[1])
        if isinstance(value, types.MethodType):
            known = self._made.get(id(value.__self__))
            return value if known is None else types.MethodType(value.__func__, known[1])
        if isinstance(value, random.Random):
            return copy.deepcopy(value)
        numpy = sys.modules.get("numpy")
        if numpy is not None:
            if isinstance(value, numpy.ndarray):
                return self._array(value)
            if isinstance(value, numpy.random.Generator | numpy.random.RandomState):
                return copy.deepcopy(value)
        return _NOTHING

    def _array(self, value: Any) -> Any:
        if not value.flags.writeable:
            return value
        made = value.copy()
        if value.dtype.hasobject and value.dtype.names is None:
            for place, each in enumerate(value.flat):
                made.flat[place] = self.of(each)
        return made

    def _object(self, value: Any) -> Any:
        if is_opaque(value):
            return self._keep(value, value)
        base = types.SimpleNamespace if isinstance(value, types.SimpleNamespace) else object
        return self._filled(value, base, _fill_fields)


def _fill_fields(copies: Copies, value: Any, other: Any) -> None:
    for put, held in fields_of(value):
        put(other, copies.of(held))


def _fill_mapping(copies: Copies, value: Any, other: Any) -> None:
    base: Any = OrderedDict if isinstance(value, OrderedDict) else dict
    # The kind's own __setitem__ may do more (an output of transformers sets attributes).
    for key in base.keys(value):
        base.__setitem__(other, copies.complete(key), copies.of(base.__getitem__(value, key)))
    _fill_fields(copies, value, other)


def _fill_list(copies: Copies, value: Any, other: Any) -> None:
    for part in list.__iter__(value):
        list.append(other, copies.of(part))
    _fill_fields(copies, value, other)


def _fill_set(copies: Copies, value: Any, other: Any) -> None:
    for part in set.__iter__(value):
        set.add(other, copies.complete(part))
    _fill_fields(copies, value, other)


def _fill_deque(copies: Copies, value: Any, other: Any) -> None:
    deque.__init__(other, (), value.maxlen)
    for part in deque.__iter__(value):
        deque.append(other, copies.of(part))
    _fill_fields(copies, value, other)


_FILLED: tuple[tuple[Any, Fill], ...] = (
    (OrderedDict, _fill_mapping),
    (defaultdict, _fill_mapping),
    (dict, _fill_mapping),
    (list, _fill_list),
    (set, _fill_set),
    (deque, _fill_deque),
)
_CONSTANT = frozenset(
    [
        *(bool, int, float, complex, str, bytes, range, slice, type),
        *(torch.Size, torch.dtype, torch.device),
        *(types.FunctionType, types.BuiltinFunctionType, types.ModuleType),
    ]
)


def with_parts(batch: Sequence[Any] | frozenset[Any], parts: list[Any]) -> Any:
    """Return a tuple, named tuple, list or frozen set of the kind of ``batch`` with these parts."""
    kind: Any = type(batch)
    if isinstance(batch, tuple):
        try:
            return tuple.__new__(kind, parts)  # whatever its own __new__ takes
        except TypeError:  # what torch.max() returns, say
            return kind(parts)
    return frozenset.__new__(kind, parts) if isinstance(batch, frozenset) else kind(parts)
