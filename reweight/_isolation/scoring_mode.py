"""What a scoring pass sees of the operators of a forward pass.

It treats what is computed under ``torch.no_grad`` as constant in forward mode too, as reverse mode
does; it stops before something is written into a tensor of the model's own; and it watches the
hooks that a forward pass puts on its activations.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from reweight._isolation.gradient_hooks import GradientHooks
from reweight._torch_internals import forward_mode_enabled, reads_data, storage_of

_AUGMENTED = frozenset(
    f"__i{name}__"
    for name in ("add", "sub", "mul", "div", "truediv", "floordiv", "mod", "pow", "matmul")
) | frozenset(f"__i{name}__" for name in ("and", "or", "xor", "lshift", "rshift"))
_RENORMALISE = (F.embedding, F.embedding_bag)
_STATISTICS = (F.batch_norm, F.instance_norm)


class WritesInto(BaseException):
    """A scoring pass is about to write into a tensor of the model's own.

    Not an ``Exception``, so that no handler in the model's code takes it for one of its own.

    Attributes:
        storage: Which, by :func:`~reweight._torch_internals.storage_of`.
    """

    def __init__(self, storage: int) -> None:
        super().__init__(storage)
        self.storage = storage


class ConstantUnderNoGrad(TorchFunctionMode):
    """Treat what the body computes under ``torch.no_grad`` as constant in forward mode too."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        # A compiler traces these lines too.
        if torch.compiler.is_compiling() or torch.is_grad_enabled():
            return func(*args, **(kwargs or {}))
        with forward_mode_enabled(False):
            return func(*args, **(kwargs or {}))


class ScoringMode(ConstantUnderNoGrad):
    """A scoring pass's view of every operator.

    Args:
        guarded: Returns the storages that must not be written into; asked once, and not before
            something is.
        hooks: Where a hook that changes a gradient is noted.

    Raises:
        WritesInto: From within the pass, before a guarded storage is written into.
    """

    def __init__(self, guarded: Callable[[], frozenset[int]], hooks: GradientHooks) -> None:
        super().__init__()
        self._ask = guarded
        self._known: frozenset[int] | None = None
        self._hooks = hooks

    @property
    def _guarded(self) -> frozenset[int]:
        if self._known is None:
            self._known = self._ask()
        return self._known

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if torch.compiler.is_compiling():
            return func(*args, **(kwargs or {}))
        try:
            concern = _concern(func)
        except TypeError:  # not hashable
            concern = _NONE
        if concern is _HOOK:
            self._hooks.on_activations = True
            if func is Tensor.register_hook and len(args) == 2:
                args = (args[0], self._hooks.watched(args[1]))
        elif concern is _DATA:
            # An alias that keeps count of changes, in place of one that hides them.
            if storage_of(args[0]) in self._guarded:
                return args[0].detach()
        elif concern is _WRITES or (kwargs and kwargs.get("out") is not None):
            for x in written(func, args, kwargs or {}):
                storage = storage_of(x)
                if storage in self._guarded:
                    raise WritesInto(storage)
        # As the base has it, without one more call for every operator.
        if torch.is_grad_enabled():
            return func(*args, **(kwargs or {}))
        with forward_mode_enabled(False):
            return func(*args, **(kwargs or {}))


_NONE, _HOOK, _DATA, _WRITES = range(4)
"""What there is to do about an operator: the last are those that write with some arguments."""


@lru_cache(maxsize=4096)
def _concern(func: Callable[..., Any]) -> int:
    if func is Tensor.register_hook or func is Tensor.retain_grad:
        return _HOOK
    if reads_data(func):
        return _DATA
    if func in _RENORMALISE + _STATISTICS:
        return _WRITES
    return _NONE if place_of_inplace(func) == NEVER else _WRITES


def written(
    func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> Iterator[Tensor]:
    """Yield the arguments that an operator, called so, changes."""
    if kwargs.get("out") is not None:
        yield from _tensors(kwargs["out"])
    if func in _RENORMALISE:
        if kwargs.get("max_norm", args[3] if len(args) > 3 else None) is not None:
            yield from _tensors(kwargs.get("weight", args[1] if len(args) > 1 else None))
    elif func in _STATISTICS:
        yield from _tensors([*args[1:3], kwargs.get("running_mean"), kwargs.get("running_var")])
    elif args and _works_in_place(func, args, kwargs):
        yield from _tensors(args[0])


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, tuple | list):
        for part in value:
            yield from _tensors(part)


def _works_in_place(
    func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> bool:
    """Whether an operator, called so, changes its first argument."""
    try:
        place = place_of_inplace(func)
    except TypeError:  # not hashable
        return False
    return in_place_there(place, args, kwargs)


NEVER, ALWAYS = -2, -1


@lru_cache(maxsize=4096)
def place_of_inplace(func: Callable[..., Any]) -> int:
    """Return the position of the argument ``inplace``; ``ALWAYS`` or ``NEVER`` where none is."""
    name = getattr(func, "__name__", "").partition(".")[0]  # of ``mul_.Tensor``
    if name in _AUGMENTED or name == "__setitem__":
        return ALWAYS
    if name.endswith("_") and not name.endswith("__"):
        return ALWAYS
    position = _position_of_inplace(func)
    return NEVER if position is None else position


def in_place_there(place: int, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """Whether a call says, at the place that :func:`place_of_inplace` returned, it is in place."""
    if place < 0:
        return place == ALWAYS
    return bool(kwargs.get("inplace", args[place] if len(args) > place else False))


@lru_cache(maxsize=1024)
def _position_of_inplace(func: Callable[..., Any]) -> int | None:
    try:
        names = list(inspect.signature(func).parameters)
    except (TypeError, ValueError):  # built in, and then told by its name
        return None
    return names.index("inplace") if "inplace" in names else None
