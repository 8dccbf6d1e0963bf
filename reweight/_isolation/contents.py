"""What stands in a container: a dict, a list, a set, a variable; copied, compared, put back."""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterator
from operator import is_
from typing import Any

from torch import Tensor

from reweight._isolation.holders import Holder

_PLAIN_DICTS = (OrderedDict, defaultdict)

Container = Any
Key = Any


def copied(container: Container) -> Any:
    """Return a copy of what stands in ``container``."""
    if type(container) is dict:  # nearly all are
        return container.copy()
    # Plain kinds: a subclass may do more when it is copied or updated than hold values.
    if isinstance(container, Holder):
        return container.contents()
    if isinstance(container, dict):
        return dict(container)
    if isinstance(container, set):
        return set(container)
    return list(container)


def same(container: Container, stood: Any) -> bool:
    """Whether ``container`` holds what stood in it, by identity."""
    if isinstance(container, Holder):
        return container.same(stood)
    if not container:  # as most modules' buffers and submodules are
        return not stood
    if len(container) != len(stood):
        return False
    if isinstance(container, dict):
        # By identity: a key may be a tensor, which has an equality of its own.
        return all(map(is_, container.values(), stood.values())) and all(map(is_, container, stood))
    if isinstance(container, set):
        return bool(container == stood)
    return all(map(is_, container, stood))


def fill(container: Container, stood: Any) -> None:
    """Put back what stood in ``container``."""
    if isinstance(container, Holder):
        container.fill(stood)
    elif type(container) is dict or isinstance(container, _PLAIN_DICTS):
        if not _same_keys(container, stood):
            container.clear()
        container.update(stood)
    elif isinstance(container, dict):  # a kind that may do more than hold values
        if not _same_keys(container, stood):
            dict.clear(container)
        dict.update(container, stood)
    elif isinstance(container, list):
        list.__setitem__(container, slice(None), stood)
    else:
        container.clear()
        (container.update if isinstance(container, set) else container.extend)(stood)


def _same_keys(container: Container, stood: Any) -> bool:
    return len(container) == len(stood) and all(map(is_, container, stood))


def put(container: Container, key: Key, value: Any) -> None:
    """Put ``value`` where ``key`` says."""
    if (
        isinstance(container, dict)
        and type(container) is not dict
        and not isinstance(container, _PLAIN_DICTS)
    ):
        dict.__setitem__(container, key, value)
    elif isinstance(container, Holder):
        container.put(key, value)
    elif container is not None:
        container[key] = value


def tensors_in(value: Any) -> Iterator[Tensor]:
    """Yield a tensor, or those in a tuple, nested ones too."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, tuple):
        for part in value:
            yield from tensors_in(part)


def replaced(value: Any, replacement: Callable[[Tensor], Tensor]) -> Any:
    """Return ``value`` with every tensor in it replaced, itself where none was."""
    if isinstance(value, Tensor):
        return replacement(value)
    if not isinstance(value, tuple):
        return value
    parts = [replaced(part, replacement) for part in value]
    if all(map(is_, parts, value)):
        return value
    kind: Any = type(value)
    return kind(*parts) if hasattr(value, "_fields") else tuple(parts)
