"""Code of others between an operator's name and what it does."""

from __future__ import annotations

import sys
from collections.abc import Iterable

import torch
from torch import Tensor
from torch.overrides import _get_current_function_mode_stack
from torch.utils._device import DeviceContext

_HARMLESS = (
    getattr(Tensor.__torch_function__, "__func__", None),
    torch._C._disabled_torch_function_impl,
)


def changes_operators(types: Iterable[type]) -> bool:
    """Whether a type of tensor handles operators itself, and may do anything in their place."""
    handlers = (getattr(t, "__torch_function__", None) for t in types)
    return any(getattr(handler, "__func__", handler) not in _HARMLESS for handler in handlers)


def modes_in_place() -> bool:
    """Whether a mode other than a default device's would see operators that run beside the pass."""
    functions = _get_current_function_mode_stack()  # type: ignore[no-untyped-call]
    return torch._C._len_torch_dispatch_stack() > 0 or not all(
        isinstance(mode, DeviceContext) for mode in functions
    )


def compiled_functions_about() -> bool:
    """Whether anything has been compiled in this process.

    A compiler that meets a mode traces it along, and may then compile something else.
    """
    dynamo = sys.modules.get("torch._dynamo.eval_frame")
    return any(map(callable, getattr(dynamo, "cached_backends", {}).values()))
