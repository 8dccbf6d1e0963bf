"""What an object of any class holds, without asking the class."""

from __future__ import annotations

import contextlib
import enum
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

Put = Callable[[Any, Any], None]

# Of the standard library's classes these are plain records; a lock, a logger, a thread are not.
_PLAIN_MODULES = {"types", "argparse", "collections", "dataclasses"}
_NO_FIELDS = {"__dict__", "__weakref__"}


def fields_of(value: Any) -> Iterator[tuple[Put, Any]]:
    """Return what ``value`` holds in its slots and its ``__dict__``, and how to put it elsewhere.

    Properties and ``__getattr__`` are not asked, nor is ``__setattr__``: a frozen object can be
    filled this way, and nothing is computed.

    Returns:
        Pairs of a function ``(object, held) -> None`` and what is held.
    """
    for kind in type(value).__mro__:
        for name, slot in list(vars(kind).items()):
            if isinstance(slot, types.MemberDescriptorType) and name not in _NO_FIELDS:
                try:
                    held = slot.__get__(value, type(value))
                except AttributeError:  # empty
                    continue
                yield _into_slot(slot), held
    for name, held in list(state_of(value).items()):
        yield _into_dict(name), held


def state_of(value: Any) -> dict[str, Any]:
    """Return the ``__dict__`` of ``value``, empty where it has none."""
    try:
        state = object.__getattribute__(value, "__dict__")
    except AttributeError:
        return {}
    return state if isinstance(state, dict) else {}


def is_opaque(value: Any) -> bool:
    """Whether a copy of the fields of ``value`` would be no copy of it, or is not wanted.

    A module with parameters, a data set, an optimiser; a member of an enumeration, a sentinel
    without any state, an object that releases something when it ends, or one of the standard
    library's: locks, loggers, threads.
    """
    kind = type(value)
    if isinstance(value, nn.Module):
        scripted = isinstance(value, torch.jit.ScriptModule)
        return scripted or next(value.parameters(), None) is not None
    if isinstance(value, Dataset | DataLoader | torch.optim.Optimizer):
        return True
    if isinstance(value, enum.Enum | type | BaseException) or hasattr(kind, "__del__"):
        return True
    return _of_the_standard_library(kind) or next(fields_of(value), None) is None


def _of_the_standard_library(kind: type) -> bool:
    package = kind.__module__.partition(".")[0]
    if package not in sys.stdlib_module_names or package in _PLAIN_MODULES:
        return False
    # A class made by a call bears the name of the module that made it ("abc", for PyG's batches).
    module = vars(sys.modules.get(kind.__module__, object))
    return module.get(kind.__qualname__.partition(".")[0]) is not None


def _into_slot(slot: types.MemberDescriptorType) -> Put:
    def put(other: Any, held: Any) -> None:
        with contextlib.suppress(AttributeError, TypeError):  # read-only
            slot.__set__(other, held)

    return put


def _into_dict(name: str) -> Put:
    def put(other: Any, held: Any) -> None:
        state_of(other)[name] = held

    return put
