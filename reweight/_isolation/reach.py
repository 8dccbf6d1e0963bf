"""What a loss or a forward function can keep things in, from one pass to the next.

Those are variables of the function and of the functions it calls, their attributes and default
arguments, the object it is a method of, and the classes of the user's modules and objects.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterable
from types import FunctionType, MethodType
from typing import Any

from torch import nn

from reweight._isolation.holders import Bound, ClassAttributes, Holder
from reweight._isolation.kinds import LRU
from reweight._isolation.owners import LIBRARIES, variables_of

_MOST = 256


class Reach:
    """Looks through functions and classes of the user's own.

    Attributes:
        holders: Where they keep something.
        objects: What they are methods of, and what their attributes are kept in.
    """

    def __init__(self, function: Any, modules: Iterable[nn.Module]) -> None:
        self.holders: list[Holder] = []
        self.objects: list[Any] = []
        self._seen: set[int] = set()
        self._look(function, whole=True)
        for kind in {type(module) for module in modules}:
            self._look_at_class(kind)

    def _look(self, value: Any, *, whole: bool = False) -> None:
        """Look at what may be called; at an object, only if ``whole`` or a class of the user's."""
        if id(value) in self._seen or len(self._seen) > _MOST:
            return
        if isinstance(value, functools.partial):
            self._seen.add(id(value))
            self.holders.append(Bound(value))
            self.objects.append(value.keywords)
            for part in (value.func, *value.args, *value.keywords.values()):
                self._look(part)
        elif isinstance(value, MethodType):
            self._look(value.__self__, whole=True)
            self._look(value.__func__)
        elif isinstance(value, FunctionType):
            self._seen.add(id(value))
            # By where its code is from: a wrapper bears the name of what it wraps.
            if _is_the_users(value.__globals__.get("__name__")):
                self._look_at_function(value)
            else:
                self._look(value.__dict__.get("__wrapped__"))
        elif isinstance(value, LRU | staticmethod | classmethod):
            self._look(value.__wrapped__)
        elif isinstance(value, property):
            self._look(value.fget)
        elif not isinstance(value, type | nn.Module) and _is_the_users(type(value).__module__):
            self._seen.add(id(value))
            if whole:
                self.objects.append(value)
            self._look_at_class(type(value))

    def _look_at_function(self, function: FunctionType) -> None:
        self.objects.append(vars(function))
        if function.__defaults__:
            self.holders.append(Bound(function))
        if function.__kwdefaults__:
            self.objects.append(function.__kwdefaults__)
        for variable in variables_of(function):
            self.holders.append(variable)
            for value in variable.contents().values():
                self._look(value)
        self._look(function.__dict__.get("__wrapped__"))

    def _look_at_class(self, kind: type) -> None:
        for base in kind.__mro__:
            if id(base) in self._seen or not _is_the_users(base.__module__):
                continue
            self._seen.add(id(base))
            self.holders.append(ClassAttributes(base))
            for value in list(vars(base).values()):
                if isinstance(value, FunctionType | LRU | staticmethod | classmethod | property):
                    self._look(value)


@functools.lru_cache(maxsize=4096)
def _is_the_users(module: str | None) -> bool:
    package = str(module).partition(".")[0]
    if package in LIBRARIES or package == "reweight":
        return False
    file = getattr(sys.modules.get(package), "__file__", None) or ""
    return "site-packages" not in file
