"""Where something may be kept besides dicts and lists: variables, slots, classes, arrays."""

from __future__ import annotations

import functools
from array import array
from types import CellType, FunctionType, MappingProxyType, MemberDescriptorType
from typing import Any

_OF_ABSTRACT = "_" + "abc_"  # what Python itself keeps in abstract classes


class Holder:
    """Something that keeps values by name, and can be put back to where it stood."""

    def contents(self) -> Any:
        """Return what it holds now."""
        raise NotImplementedError

    def same(self, stood: Any) -> bool:
        """Whether it holds what ``stood`` says, the same objects."""
        now = self.contents()
        return now.keys() == stood.keys() and all(now[name] is stood[name] for name in stood)

    def fill(self, stood: Any) -> None:
        """Let it hold what ``stood`` says, and nothing else."""
        now = self.contents()
        for name in now.keys() - stood.keys():
            self.drop(name)
        for name, value in stood.items():
            if name not in now or now[name] is not value:
                self.put(name, value)

    def put(self, name: str, value: Any) -> None:
        """Let it hold ``value`` under ``name``."""
        raise NotImplementedError

    def drop(self, name: str) -> None:
        """Let it hold nothing under ``name``."""


class Variable(Holder):
    """A variable that a function reads: a cell of its closure, or a global name.

    Args:
        cell: The cell, or
        scope: the names, and
        name: the one among them.
        assigned: Whether the function assigns to it.

    Attributes:
        scope: The names it is one of, if it is no cell.
        name: Its name.
        assigned: Whether the function assigns to it.
    """

    def __init__(
        self,
        cell: CellType | None = None,
        scope: dict[str, Any] | None = None,
        name: str = "",
        *,
        assigned: bool = True,
    ) -> None:
        self._cell = cell
        self.scope = scope
        self.name = name
        self.assigned = assigned

    def contents(self) -> dict[str, Any]:
        if self.scope is not None:
            return {self.name: self.scope[self.name]} if self.name in self.scope else {}
        assert self._cell is not None
        try:
            return {self.name: self._cell.cell_contents}
        except ValueError:  # not assigned yet
            return {}

    def put(self, name: str, value: Any) -> None:
        if self._cell is not None:
            self._cell.cell_contents = value
        else:
            assert self.scope is not None
            self.scope[name] = value

    def drop(self, name: str) -> None:
        if self._cell is not None:
            del self._cell.cell_contents
        elif self.scope is not None:
            self.scope.pop(name, None)


class Slots(Holder):
    """What an object keeps in its ``__slots__``."""

    def __init__(self, owner: Any) -> None:
        self._owner = owner
        kind: Any = type(owner)
        self._slots = slots_of(kind)

    def contents(self) -> dict[str, Any]:
        found = {}
        for name, slot in self._slots.items():
            try:
                found[name] = slot.__get__(self._owner, type(self._owner))
            except AttributeError:  # empty
                continue
        return found

    def put(self, name: str, value: Any) -> None:
        self._slots[name].__set__(self._owner, value)

    def drop(self, name: str) -> None:
        self._slots[name].__delete__(self._owner)


@functools.lru_cache(maxsize=4096)
def slots_of(kind: type) -> dict[str, MemberDescriptorType]:
    """Return the slots of a class, by name."""
    return {
        name: slot
        for base in reversed(kind.__mro__)
        for name, slot in vars(base).items()
        if isinstance(slot, MemberDescriptorType)
    }


class ClassAttributes(Holder):
    """What a class keeps for all of its objects: everything but methods."""

    def __init__(self, kind: type) -> None:
        self._kind = kind

    @property
    def members(self) -> MappingProxyType[str, Any]:
        """Everything in the class, methods too."""
        return vars(self._kind)

    def contents(self) -> dict[str, Any]:
        return {
            name: value
            for name, value in vars(self._kind).items()
            if not name.startswith(("__", _OF_ABSTRACT))
            and not hasattr(type(value), "__set__")
            and not isinstance(value, FunctionType | staticmethod | classmethod)
        }

    def put(self, name: str, value: Any) -> None:
        setattr(self._kind, name, value)

    def drop(self, name: str) -> None:
        delattr(self._kind, name)


class Bound(Holder):
    """The arguments that a function was partially applied to, or has for defaults."""

    def __init__(self, function: Any) -> None:
        self._function = function

    def contents(self) -> dict[str, Any]:
        function = self._function
        if isinstance(function, functools.partial):
            return {"args": function.args}
        return {"args": function.__defaults__}

    def put(self, name: str, value: Any) -> None:  # noqa: ARG002
        function: Any = self._function
        if isinstance(function, functools.partial):
            put: Any = function.__setstate__  # type: ignore[attr-defined]
            put((function.func, value, function.keywords, vars(function)))
        else:
            function.__defaults__ = value


class Values(Holder):
    """The numbers in a NumPy array, an ``array`` or a ``bytearray``."""

    def __init__(self, owner: Any) -> None:
        self._owner = owner

    def contents(self) -> Any:
        owner = self._owner
        return owner[:] if isinstance(owner, bytearray | array) else owner.copy()

    def same(self, stood: Any) -> bool:  # noqa: ARG002
        return False

    def fill(self, stood: Any) -> None:
        if isinstance(self._owner, bytearray | array):
            self._owner[:] = stood
        elif self._owner.shape == stood.shape:
            self._owner[...] = stood
