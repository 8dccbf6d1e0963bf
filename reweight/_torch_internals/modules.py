"""What modules keep, and where."""

from __future__ import annotations

from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.jit import ScriptModule
from torch.nn.modules import module as _module
from torch.nn.utils import parametrize
from torch.utils import checkpoint as _checkpoint

# Attributes of a module, as `vars(module)` has them.
TENSOR_SLOTS = ("_parameters", "_buffers")
SLOTS = (*TENSOR_SLOTS, "_modules", "_non_persistent_buffers_set")
HOOK_SLOTS = tuple(name for name in vars(nn.Module()) if "hooks" in name)
BACKWARD_HOOK_SLOTS = ("_backward_hooks", "_backward_pre_hooks")


def parameter_slots(module: nn.Module) -> MutableMapping[str, nn.Parameter | None]:
    """Return the slots of the module's own parameters, as they are: ``None`` for an empty one."""
    return module._parameters


def has_hooks(module: nn.Module) -> bool:
    """Whether hooks of the module see, and may change, what goes in or comes out, either way."""
    return bool(
        module._forward_hooks
        or module._forward_pre_hooks
        or module._backward_hooks
        or module._backward_pre_hooks
    )


def hooks_of(module: nn.Module) -> list[Any]:
    """Return the hooks that see what goes in or comes out of the module, either way."""
    slots = (
        module._forward_hooks,
        module._forward_pre_hooks,
        module._backward_hooks,
        module._backward_pre_hooks,
    )
    return [hook for slot in slots for hook in slot.values()]


def backward_hooks_of_all_modules() -> bool:
    """Whether hooks for the backward passes of all modules, of any model, are in place."""
    return any(getattr(_module, f"_global{name}", None) for name in BACKWARD_HOOK_SLOTS)


def set_scripted(module: ScriptModule, name: str, value: Tensor) -> None:
    """Put ``value`` into a slot of a TorchScript module, whatever kind of tensor stood there."""
    script: Any = module._c
    script.setattr(name, value)


_AROUND_CHECKPOINT = "_checkpoint_without_reentrant_generator"


def around_checkpoints() -> Callable[..., Iterator[None]] | None:
    """Return what a checkpoint that is not reentrant makes, and goes through around its part."""
    return getattr(_checkpoint, _AROUND_CHECKPOINT, None)


def set_around_checkpoints(way: Callable[..., Iterator[None]]) -> None:
    """Put ``way`` in its place."""
    setattr(_checkpoint, _AROUND_CHECKPOINT, way)


@contextmanager
def nothing_cached_by_parametrize() -> Iterator[None]:
    """Let ``parametrize.cached()`` hand nothing into the body, nor out of it.

    PyTorch keeps what it caches in one place for all models.
    """
    kept = parametrize._cache
    parametrize._cache = {}
    try:
        yield
    finally:
        parametrize._cache = kept


def padding_of(layer: nn.Module) -> list[int]:
    """Return a convolution's padding as ``F.pad`` takes it, where it is not by zeros."""
    padding: Any = layer._reversed_padding_repeated_twice
    return list(padding)
