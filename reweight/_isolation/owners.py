"""What a loss or a forward function brings along, besides the model: modules, and variables."""

from __future__ import annotations

import dis
import functools
import inspect
import sys
from collections.abc import Iterable, Iterator
from types import CodeType, FunctionType, MethodType
from typing import Any

from torch import nn

from reweight._isolation.holders import Variable

_DEPTH = 3
_ASSIGN = ("STORE_GLOBAL", "DELETE_GLOBAL", "STORE_DEREF", "DELETE_DEREF")
LIBRARIES = frozenset(sys.stdlib_module_names) | {"torch", "numpy", "monai", "torchvision"}


Looked = list[tuple[Any, Any]]
"""What was looked into, and what stood in it."""


def modules_beside(
    model: nn.Module,
    function: Any,
    parts: Iterable[nn.Module] = (),
    looked: Looked | None = None,
) -> dict[str, nn.Module]:
    """Return the modules that ``function`` uses and ``model`` does not hold, by a name for each.

    They are looked for where a function may have them from: the function itself or its object, what
    it closes over, its default arguments, what it was partially applied to, and global names that
    its code mentions, through further functions of the user's own.

    Args:
        model: The bare model.
        function: A loss, or a forward function ``(model, batch) -> losses``.
        parts: All modules in the model, where they are known.
        looked: Gets what the answer depends on: as long as that stands, so does the answer.
    """
    known = {id(part) for part in parts or model.modules()}
    found: dict[str, nn.Module] = {}
    for name, module in _reachable(function, _DEPTH, set(), [] if looked is None else looked):
        # A wrapper around the model, or a trainer that holds it, brings along what else it has.
        fresh = [part for part in _outermost(module, known) if id(part) not in known]
        for part in fresh:
            known.update(id(inner) for inner in part.modules())
            unique, number = name, 2
            while unique in found:
                unique, number = f"{name}{number}", number + 1
            found[unique] = part
    return found


def _outermost(module: nn.Module, known: set[int]) -> Iterator[nn.Module]:
    """Yield the largest parts of ``module`` that hold nothing known."""
    if id(module) in known:
        return
    if not any(id(part) in known for part in module.modules()):
        yield module
        return
    for child in module.children():
        yield from _outermost(child, known)


def _reachable(
    value: Any, depth: int, seen: set[int], looked: Looked
) -> Iterator[tuple[str, nn.Module]]:
    if id(value) in seen or depth < 0:
        return
    seen.add(id(value))
    if isinstance(value, nn.Module):
        yield "loss", value
    elif isinstance(value, functools.partial):
        yield from _in_values({"loss": value.func}, depth, seen, looked)
        yield from _in_values(dict(enumerate(value.args)), depth, seen, looked)
        looked.append((value.keywords, dict(value.keywords)))
        yield from _in_values(value.keywords, depth, seen, looked)
    elif isinstance(value, MethodType):
        yield from _reachable(value.__self__, depth, seen, looked)
        yield from _reachable(value.__func__, depth, seen, looked)
    elif isinstance(value, FunctionType):
        yield from _in_values(_mentioned(value, looked), depth - 1, seen, looked)
    elif isinstance(value, list | tuple):
        if isinstance(value, list):
            looked.append((value, list(value)))
        yield from _in_values(dict(enumerate(value[:64])), depth - 1, seen, looked)
    elif isinstance(value, dict):
        looked.append((value, dict(value)))
        yield from _in_values(dict(list(value.items())[:64]), depth - 1, seen, looked)
    elif not isinstance(value, type) and hasattr(value, "__dict__") and _of_the_user(value):
        looked.append((vars(value), dict(vars(value))))
        yield from _in_values(vars(value), depth - 1, seen, looked)


def _in_values(
    values: Any, depth: int, seen: set[int], looked: Looked
) -> Iterator[tuple[str, nn.Module]]:
    for name, value in values.items():
        for inner, module in _reachable(value, depth, seen, looked):
            own = name if isinstance(name, str) and name.isidentifier() else inner
            yield own, module


def _mentioned(function: FunctionType, looked: Looked) -> dict[str, Any]:
    """Return what a function closes over, has for defaults, and mentions of its globals."""
    if not _of_the_user(function):
        return {}
    found: dict[str, Any] = {}
    for variable in variables_of(function):
        contents = variable.contents()
        looked.append((variable, contents))
        found |= contents
    found |= {str(n): value for n, value in enumerate(function.__defaults__ or ())}
    found |= function.__kwdefaults__ or {}
    wrapped = inspect.unwrap(function)
    if wrapped is not function:
        found["wrapped"] = wrapped
    return found


def _of_the_user(value: Any) -> bool:
    module = getattr(value, "__module__", None) or type(value).__module__
    return str(module).partition(".")[0] not in LIBRARIES


def variables_of(function: FunctionType) -> Iterator[Variable]:
    """Yield the variables that ``function`` closes over, and the global ones it mentions."""
    code = function.__code__
    read, assigned = _variables_in(code)
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        yield Variable(cell, name=name, assigned=name in assigned)
    scope = function.__globals__
    for name in read:  # one that is not there yet may be there in a later step
        yield Variable(scope=scope, name=name, assigned=name in assigned)


@functools.lru_cache(maxsize=4096)
def _variables_in(code: CodeType) -> tuple[tuple[str, ...], frozenset[str]]:
    """Return the global names that the code reads, and the names, cells too, that it assigns to.

    Functions inside it are included.
    """
    read: dict[str, None] = {}
    assigned: set[str] = set()
    for instruction in dis.get_instructions(code):
        if instruction.opname in _ASSIGN:
            assigned.add(instruction.argval)
        if instruction.opname.endswith("_GLOBAL") or instruction.opname == "LOAD_NAME":
            read[instruction.argval] = None
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            more, stored = _variables_in(constant)
            read |= dict.fromkeys(more)
            assigned |= stored
    return tuple(read), frozenset(assigned)
