"""What modules keep in plain Python: attributes, dicts, lists, objects, generators.

A forward pass may count, cache, or keep what it computed. A scoring pass starts from what stood
there when the step began, with the tensors it is given in place of the model's own, and leaves
everything as it was.
"""

from __future__ import annotations

import copy
import itertools
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache, partial
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any
from weakref import WeakKeyDictionary, WeakValueDictionary, ref

import torch
from torch import Tensor, nn
from torch.jit import ScriptModule
from torch.utils.weak import WeakIdKeyDictionary, WeakIdRef

from reweight._isolation.contents import (
    Container,
    Key,
    copied,
    fill,
    put,
    replaced,
    same,
    tensors_in,
)
from reweight._isolation.holders import Holder, Slots, Values, Variable, slots_of
from reweight._isolation.kinds import (
    LRU,
    is_a_memory,
    is_a_trained_leaf,
    is_an_array,
    is_an_identity,
    is_generator,
)
from reweight._isolation.unchanged import Unchanged
from reweight._torch_internals import (
    BACKWARD_HOOK_SLOTS,
    HOOK_SLOTS,
    SLOTS,
    TENSOR_SLOTS,
    set_scripted,
)

_ATOMS = frozenset(
    {int, float, str, bool, bytes, complex, type(None), type, range, slice, type(Ellipsis)}
    | {torch.dtype, torch.device, torch.Size, torch.layout, torch.memory_format}
    | {FunctionType, BuiltinFunctionType, MethodType, ModuleType, property}
)
# Of a module's own attributes these are looked into.
_SKIPPED = frozenset({*SLOTS, *HOOK_SLOTS})
# A vocabulary of a million words is kept, not looked through.
_LARGE = 4096
_MOST = 20_000
# Iterators that can be copied. One that cannot (a generator) shows in the losses' comparison.
_ITERATORS: tuple[type, ...] = (
    *(itertools.count, itertools.cycle, itertools.repeat, itertools.chain, zip, enumerate),
    *map(type, (iter([]), iter(()), iter(range(0)), iter(range(2**65)), iter(""), iter(b""))),
)
_REPLACED: tuple[Any, ...] = (Tensor, tuple, LRU, *_ITERATORS)
_NOTHING: dict[Any, Any] = {}
_WEAK: tuple[Any, ...] = (WeakKeyDictionary, WeakValueDictionary, WeakIdKeyDictionary)

Slot = tuple[Container, Key, Any]


@dataclass(frozen=True, slots=True)
class Meanwhile:
    """What stood in the containers between the beginning and a scoring pass.

    Attributes:
        contents: Containers and what stood in each; ``None``: what did in the beginning.
        hooks: The same of hooks, where there are any.
    """

    contents: list[tuple[Container, Any]] | None
    hooks: list[tuple[Container, Any]]


class Containers:
    """Every container that ``modules`` keep something in, and what stood in it.

    Attributes:
        slots: Where a tensor stands: the container, its key there, and the tensor (or a tuple
            that holds some).
        scripted: The same for the parameters and buffers of TorchScript modules.
        generators: Random number generators that the modules own.
        hooks: Where modules keep their hooks.
        outside: Modules that are kept in a list or an object, unknown to ``modules()``.
    """

    def __init__(
        self,
        modules: Iterable[nn.Module],
        holders: Iterable[Holder] = (),
        objects: Iterable[Any] = (),
    ) -> None:
        given = list(modules)
        self._known = {id(module) for module in given}
        self.slots: list[Slot] = []
        self.scripted: list[tuple[ScriptModule, str, Tensor]] = []
        self.generators: list[Any] = []
        self.hooks: list[dict[int, Any]] = []
        self._backward: list[dict[int, Any]] = []  # among them those of backward passes
        self.outside: list[nn.Module] = []
        self._stood: list[tuple[Container, Any]] = []
        self._anew: list[tuple[Container, Key, Callable[[], Any]]] = []
        self._by_identity: list[tuple[dict[Any, Any], Any]] = []
        self._replaced: list[Slot] = []
        self._seen: set[int] = set()
        self._kept_alive: list[Any] = []
        for module in given:
            self._look_at_module(module)
        for holder in holders:
            found = holder.contents()
            assigned = not isinstance(holder, Variable) or holder.assigned
            # Names that nobody assigns to are kept where something is put in their place.
            if assigned or any(isinstance(value, _REPLACED) for value in found.values()):
                self._keep(holder)
            for key, value in found.items():
                # What a function calls was found by whoever found its variables.
                if type(value) not in _ATOMS and not isinstance(value, nn.Module):
                    self._look_at(value, holder, key)
        for value in objects:
            self._look_at(value, None, None)
        for module in self.outside:  # grows meanwhile
            for part in module.modules():
                self._look_at_module(part)
        self._seen.clear()
        self._kept_alive.clear()
        self._unchanged = Unchanged(self._stood)

    @property
    def still_stand(self) -> bool:
        """Whether a look at the same modules would certainly find the same.

        Of an iterator, an array, TorchScript's slots and what ``lru_cache`` keeps it cannot be
        told from outside.
        """
        return not self._anew and not self.scripted and bool(self._unchanged)

    def backward_hooks(self) -> list[dict[int, Any]]:
        """Return where modules keep the hooks of their backward passes."""
        return [hooks for hooks in self._backward if hooks] if any(self._backward) else []

    def exchanged(self) -> Meanwhile:
        """Put everything where it stood, and return what had stood there meanwhile, hooks too."""
        hooks = [(each, copied(each)) for each in self.hooks if each] if any(self.hooks) else []
        if self._unchanged:
            return Meanwhile(None, hooks)
        now: list[tuple[Container, Any]] = []
        for container, stood in self._stood:
            # Most modules' buffers and submodules are none, then and now.
            if (not container and not stood) or same(container, stood):
                now.append((container, stood))
            else:
                now.append((container, copied(container)))
                fill(container, stood)
        return Meanwhile(now, hooks)

    def changed(self) -> int:
        """Return how many containers hold something else than in the beginning."""
        return sum(not same(container, stood) for container, stood in self._stood)

    def put_back(self, meanwhile: Meanwhile | None = None) -> None:
        """Put ``meanwhile`` back where it stood; by default what was found in the beginning.

        That is without hooks: the library puts some of its own between one pass and the next.
        """
        for container, key, value in self._replaced:
            container[key] = value
        self._replaced.clear()
        contents = None if meanwhile is None else meanwhile.contents
        if contents is not None or not self._unchanged:
            for container, stood in self._stood if contents is None else contents:
                if (container or stood) and not same(container, stood):
                    fill(container, stood)
        if meanwhile is not None and (meanwhile.hooks or any(self.hooks)):
            kept = {id(hooks) for hooks, _ in meanwhile.hooks}
            for hooks in self.hooks:
                if hooks and id(hooks) not in kept:
                    hooks.clear()
            for hooks, stood in meanwhile.hooks:
                if not same(hooks, stood):
                    fill(hooks, stood)

    def replace(self, replacement: Callable[[Tensor], Tensor]) -> None:
        """Put ``replacement(tensor)`` where each tensor stood in the beginning."""
        by_id = {id(value): value for _, _, value in self.slots} if self._by_identity else {}
        for container, key, value in self.slots:
            new = replaced(value, replacement)
            if new is not value:
                put(container, key, new)
                if type(container) is dict:
                    self._replaced.append((container, key, value))
        for module, name, tensor in self.scripted:
            new = replacement(tensor)
            if new is not tensor:
                set_scripted(module, name, new)
        for container, key, made in self._anew:
            put(container, key, made())
        for known, key in self._by_identity:
            # What is kept for a parameter, or for its id(), is for what stands in its place too.
            own: Any = by_id.get(key) if type(key) is int else key
            own = own() if isinstance(own, ref | WeakIdRef) else own
            new = None if own is None else replacement(own)
            if new is not None and new is not own and key in known:
                another = id(new) if type(key) is int else new if key is own else type(key)(new)
                known[another] = known[key]

    def put_scripted_back(self) -> None:
        """Put the tensors of TorchScript modules back."""
        for module, name, tensor in self.scripted:
            if getattr(module, name) is not tensor:
                set_scripted(module, name, tensor)

    def bare_parameters(self, known: set[int]) -> list[tuple[str, Any]]:
        """Return trained tensors that no module holds (a temperature in a closure), by name.

        Args:
            known: The ``id`` of parameters that are known already; grows.
        """
        found: dict[str, Any] = {}
        for _, key, value in self.slots:
            for tensor in tensors_in(value):
                if id(tensor) not in known and is_a_trained_leaf(tensor):
                    known.add(id(tensor))
                    name, number = f"beside.{key}", 2
                    while name in found:
                        name, number = f"beside.{key}{number}", number + 1
                    found[name] = tensor
        return list(found.items())

    def _look_at_module(self, module: nn.Module) -> None:
        if id(module) in self._seen:
            return
        self._seen.add(id(module))
        if isinstance(module, ScriptModule):
            for name, tensor in (
                *module.named_parameters(recurse=False),
                *module.named_buffers(recurse=False),
            ):
                self.scripted.append((module, name, tensor))
            return
        own = module.__dict__
        self._keep(own)
        for name in SLOTS:
            inside = own.get(name)
            if inside is None:
                continue
            self._stood.append((inside, copied(inside) if inside else _NOTHING))
            if inside and name in TENSOR_SLOTS:
                self.slots += [(inside, k, t) for k, t in inside.items() if t is not None]
        for name, value in own.items():
            if type(value) in _ATOMS:
                continue
            if name in HOOK_SLOTS:
                self.hooks.append(value)
                if name in BACKWARD_HOOK_SLOTS:
                    self._backward.append(value)
            elif name not in _SKIPPED:
                self._look_at(value, own, name)

    def _look_at(self, value: Any, container: Container, key: Key) -> None:
        if isinstance(value, Tensor):
            self.slots.append((container, key, value))
            return
        if isinstance(value, tuple):
            if any(True for _ in tensors_in(value)):
                self.slots.append((container, key, value))
            for part in value:
                if type(part) not in _ATOMS and not isinstance(part, Tensor):
                    self._look_at(part, None, None)
            return
        if id(value) in self._seen:
            return
        if len(self._seen) > _MOST:
            return
        if isinstance(value, nn.Module):
            if id(value) not in self._known:
                self._known.update(id(part) for part in value.modules())
                self.outside.append(value)
            return
        self._seen.add(id(value))
        self._kept_alive.append(value)  # so that no other object gets its id
        if isinstance(value, torch.Generator) or is_generator(value):
            self.generators.append(value)
        elif isinstance(value, _ITERATORS):
            self._anew.append((container, key, partial(copy.copy, copy.copy(value))))
        elif isinstance(value, LRU):
            empty = lru_cache(**value.cache_parameters())
            self._anew.append((container, key, partial(empty, value.__wrapped__)))
        elif is_an_array(value):
            self._keep(Values(value))
        elif isinstance(value, _WEAK):
            self._look_at(value.data, None, None)
        elif isinstance(value, dict):
            self._keep(value)
            self._look_inside(value, value.items())
            if len(value) <= _LARGE:
                self._by_identity += [(value, key) for key in value if is_an_identity(key)]
        elif isinstance(value, list | deque):
            self._keep(value)
            self._look_inside(value, enumerate(value))
        elif isinstance(value, set):
            self._keep(value)
        elif is_a_memory(value):
            kind: Any = type(value)
            if slots_of(kind):
                slots = Slots(value)
                self._keep(slots)
                self._look_inside(slots, slots.contents().items())
            own = getattr(value, "__dict__", None)
            if own is not None:
                self._keep(own)
                self._look_inside(own, own.items())

    def _look_inside(self, container: Container, items: Iterable[tuple[Key, Any]]) -> None:
        if not isinstance(container, Holder) and len(container) > _LARGE:
            return
        for key, value in items:
            if type(value) not in _ATOMS:
                self._look_at(value, container, key)

    def _keep(self, container: Container) -> None:
        self._stood.append((container, copied(container)))
