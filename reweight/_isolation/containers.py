"""What modules keep in plain Python: attributes, dicts, lists, objects, generators.

A forward pass may count, cache, or keep what it computed. A scoring pass starts from what stood
there when the step began, with the tensors it is given in place of the model's own, and leaves
everything as it was.
"""

from __future__ import annotations

import random
import sys
import threading
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from operator import is_
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.jit import ScriptModule

from reweight._isolation.owners import Variable
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
# Objects of these packages are not a model's memory: a trainer, a logger, a data loader.
_MACHINERY = frozenset(sys.stdlib_module_names) | {
    *("torch", "numpy", "lightning", "pytorch_lightning", "lightning_fabric", "accelerate"),
    *("ignite", "wandb", "mlflow", "tensorboard", "deepspeed", "datasets", "tokenizers"),
}
_LOCKS = (type(threading.Lock()), type(threading.RLock()), threading.Thread)
# A vocabulary of a million words is kept, not looked through.
_LARGE = 4096
_PLAIN_DICTS = (OrderedDict, defaultdict)
_MOST = 20_000

Container = Any
Key = Any
Slot = tuple[Container, Key, Any]


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

    def __init__(self, modules: Iterable[nn.Module], variables: Iterable[Variable] = ()) -> None:
        given = list(modules)
        self._known = {id(module) for module in given}
        self.slots: list[Slot] = []
        self.scripted: list[tuple[ScriptModule, str, Tensor]] = []
        self.generators: list[Any] = []
        self.hooks: list[dict[int, Any]] = []
        self._backward: list[dict[int, Any]] = []
        self.outside: list[nn.Module] = []
        self._stood: list[tuple[Container, Any]] = []
        self._seen: set[int] = set()
        self._kept_alive: list[Any] = []
        for module in given:
            self._look_at_module(module)
        for variable in variables:
            value = variable.value
            if type(value) in _ATOMS or isinstance(value, nn.Module):
                continue
            if isinstance(value, Tensor | tuple):
                self._keep(variable)
            self._look_at(value, variable, None)
        for module in self.outside:  # grows meanwhile
            for part in module.modules():
                self._look_at_module(part)
        self._seen.clear()
        self._kept_alive.clear()

    def backward_hooks(self) -> list[dict[int, Any]]:
        """Return where modules keep the hooks of their backward passes."""
        return self._backward

    def contents(self) -> list[tuple[Container, Any]]:
        """Return every container, of hooks too, with a copy of what stands in it now."""
        containers = [container for container, _ in self._stood]
        containers += [hooks for hooks in self.hooks if hooks]
        return [(container, _copy(container)) for container in containers]

    def changed(self) -> int:
        """Return how many containers hold something else than in the beginning."""
        return sum(not _same(container, stood) for container, stood in self._stood)

    def put_back(self, contents: list[tuple[Container, Any]] | None = None) -> None:
        """Put ``contents`` back where they stood; by default those found in the beginning.

        Those are without hooks: the library puts some of its own between one pass and the next.
        """
        for container, stood in self._stood if contents is None else contents:
            if not _same(container, stood):
                _fill(container, stood)
        if contents is not None:
            kept = {id(container) for container, _ in contents}
            for hooks in self.hooks:
                if hooks and id(hooks) not in kept:
                    hooks.clear()

    def replace(self, replacement: Callable[[Tensor], Tensor]) -> None:
        """Put ``replacement(tensor)`` where each tensor stood in the beginning."""
        for container, key, value in self.slots:
            new = _replaced(value, replacement)
            if new is not value:
                _set(container, key, new)
        for module, name, tensor in self.scripted:
            new = replacement(tensor)
            if new is not tensor:
                set_scripted(module, name, new)

    def put_scripted_back(self) -> None:
        """Put the tensors of TorchScript modules back."""
        for module, name, tensor in self.scripted:
            if getattr(module, name) is not tensor:
                set_scripted(module, name, tensor)

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
            self._keep(inside)
            if name in TENSOR_SLOTS:
                self.slots += [(inside, k, t) for k, t in inside.items() if t is not None]
        self.hooks += [own[name] for name in HOOK_SLOTS if own.get(name) is not None]
        self._backward += [own[name] for name in BACKWARD_HOOK_SLOTS if own.get(name)]
        for name, value in own.items():
            if type(value) not in _ATOMS and name not in _SKIPPED:
                self._look_at(value, own, name)

    def _look_at(self, value: Any, container: Container, key: Key) -> None:
        if isinstance(value, Tensor):
            self.slots.append((container, key, value))
            return
        if isinstance(value, tuple):
            if any(True for _ in _tensors(value)):
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
        if isinstance(value, torch.Generator) or _is_generator(value):
            self.generators.append(value)
        elif isinstance(value, dict):
            self._keep(value)
            self._look_inside(value, value.items())
        elif isinstance(value, list | deque):
            self._keep(value)
            self._look_inside(value, enumerate(value))
        elif isinstance(value, set):
            self._keep(value)
        elif _is_a_memory(value):
            self._keep(value.__dict__)
            self._look_inside(value.__dict__, value.__dict__.items())

    def _look_inside(self, container: Container, items: Iterable[tuple[Key, Any]]) -> None:
        if len(container) > _LARGE:
            return
        for key, value in items:
            if type(value) not in _ATOMS:
                self._look_at(value, container, key)

    def _keep(self, container: Container) -> None:
        self._stood.append((container, _copy(container)))


def _copy(container: Container) -> Any:
    # Plain kinds: a subclass may do more when it is copied or updated than hold values.
    if isinstance(container, Variable):
        return [container.value]
    if isinstance(container, dict):
        return dict(container)
    if isinstance(container, set):
        return set(container)
    return list(container)


def _same(container: Container, stood: Any) -> bool:
    if isinstance(container, Variable):
        return bool(container.value is stood[0])
    if len(container) != len(stood):
        return False
    if isinstance(container, dict):
        return container.keys() == stood.keys() and all(
            map(is_, container.values(), stood.values())
        )
    if isinstance(container, set):
        return bool(container == stood)
    return all(map(is_, container, stood))


def _fill(container: Container, stood: Any) -> None:
    if isinstance(container, Variable):
        container.value = stood[0]
    elif type(container) is dict or isinstance(container, _PLAIN_DICTS):
        if list(container) != list(stood):
            container.clear()
        container.update(stood)
    elif isinstance(container, dict):  # a kind that may do more than hold values
        if list(container) != list(stood):
            dict.clear(container)
        dict.update(container, stood)
    elif isinstance(container, list):
        list.__setitem__(container, slice(None), stood)
    else:
        container.clear()
        (container.update if isinstance(container, set) else container.extend)(stood)


def _set(container: Container, key: Key, value: Any) -> None:
    if (
        isinstance(container, dict)
        and type(container) is not dict
        and not isinstance(container, _PLAIN_DICTS)
    ):
        dict.__setitem__(container, key, value)
    elif isinstance(container, Variable):
        container.value = value
    elif container is not None:
        container[key] = value


def _tensors(value: Any) -> Iterator[Tensor]:
    for part in value:
        if isinstance(part, Tensor):
            yield part
        elif isinstance(part, tuple):
            yield from _tensors(part)


def _replaced(value: Any, replacement: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(value, Tensor):
        return replacement(value)
    if not isinstance(value, tuple):
        return value
    parts = [_replaced(part, replacement) for part in value]
    if all(map(is_, parts, value)):
        return value
    kind: Any = type(value)
    return kind(*parts) if hasattr(value, "_fields") else tuple(parts)


def _is_generator(value: Any) -> bool:
    if isinstance(value, random.Random):
        return True
    numpy = sys.modules.get("numpy")
    return numpy is not None and isinstance(
        value, numpy.random.Generator | numpy.random.RandomState
    )


def _is_a_memory(value: Any) -> bool:
    """Whether an object may be what a model keeps things in, and nobody else's at the same time."""
    if not hasattr(value, "__dict__") or callable(getattr(value, "cell_contents", None)):
        return False
    if type(value).__module__.partition(".")[0] in _MACHINERY:
        return False
    return not any(isinstance(inside, _LOCKS) for inside in vars(value).values())
