"""Whether many containers hold what they held, found out without a look at each from Python.

A model of a hundred small modules has a thousand slots and dicts, and a step asks of all of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from operator import is_
from types import MappingProxyType
from typing import Any

from reweight._isolation.contents import Container, same
from reweight._isolation.holders import ClassAttributes, Holder, Values, Variable


class Unchanged:
    """Compares containers with what stood in them, by identity, all in one go.

    Args:
        stood: Containers and what stood in each, just now.
    """

    def __init__(self, stood: Iterable[tuple[Container, Any]]) -> None:
        self._empty: list[Container] = []
        self._dicts: list[dict[Any, Any]] = []
        self._classes: list[MappingProxyType[str, Any]] = []
        self._names: dict[int, tuple[dict[str, Any], list[str], list[Any]]] = {}
        self._others: list[tuple[Container, Any]] = []
        self.possible = True
        for container, contents in stood:
            self._add(container, contents)
        self._lengths = [*map(len, self._dicts)]
        self._keys = [*chain.from_iterable(self._dicts)]
        self._values = [*chain.from_iterable(map(dict.values, self._dicts))]
        self._members = [[*members.values()] for members in self._classes]

    def _add(self, container: Container, contents: Any) -> None:
        if isinstance(container, Values):  # numbers, which may have changed or not
            self.possible = False
        elif isinstance(container, ClassAttributes):
            self._classes.append(container.members)
        elif isinstance(container, Variable) and container.scope is not None:
            scope = container.scope
            _, names, values = self._names.setdefault(id(scope), (scope, [], []))
            names.append(container.name)
            values.append(scope.get(container.name))
        elif isinstance(container, Holder):
            self._others.append((container, contents))
        elif not contents:
            self._empty.append(container)
        elif type(container) is dict:
            self._dicts.append(container)
        else:
            self._others.append((container, contents))

    def __bool__(self) -> bool:
        """Whether all of them certainly hold the same."""
        return (
            self.possible
            and not any(self._empty)
            and [*map(len, self._dicts)] == self._lengths
            and all(map(is_, chain.from_iterable(map(dict.values, self._dicts)), self._values))
            and all(map(is_, chain.from_iterable(self._dicts), self._keys))
            and all(map(_same_members, self._classes, self._members))
            and all(_same_names(*names) for names in self._names.values())
            and all(same(container, contents) for container, contents in self._others)
        )


def _same_members(members: MappingProxyType[str, Any], stood: list[Any]) -> bool:
    return len(members) == len(stood) and all(map(is_, members.values(), stood))


def _same_names(scope: dict[str, Any], names: list[str], values: list[Any]) -> bool:
    return all(map(is_, map(scope.get, names), values))
