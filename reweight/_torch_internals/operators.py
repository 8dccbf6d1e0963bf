"""Operators, and what stands between an operator's name and what it does."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from types import FunctionType
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload, OpOverloadPacket
from torch.autograd import forward_ad
from torch.overrides import TorchFunctionMode, _get_current_function_mode_stack
from torch.utils._device import DeviceContext

_OWN = ("aten", "prim", "prims")
_functorch: Any = torch._C._functorch
_dispatch_modes: Callable[[], int] = torch._C._len_torch_dispatch_stack


def is_custom_operator(func: object) -> bool:
    """Whether ``func`` is an operator of ``torch.ops`` that is not PyTorch's own."""
    if isinstance(func, OpOverload):
        return func.namespace not in _OWN
    return isinstance(func, OpOverloadPacket) and func._qualified_op_name.split("::")[0] not in _OWN


def draws_random_numbers(func: Any) -> bool | None:
    """Whether an operator may draw from the global generators, ``None`` where it cannot be told.

    PyTorch tags those that do, under each name that they have. What is written in Python, and may
    call any of them, bears no tag, but for the methods that stand for signs (``x + y``, ``x[i]``).
    """
    if isinstance(func, OpOverload):
        return torch.Tag.nondeterministic_seeded in func.tags
    packet: Any = func
    if not isinstance(func, OpOverloadPacket):
        name = getattr(func, "__name__", "")
        if name.startswith("__") and name.endswith("__"):
            return False
        packet = None if isinstance(func, FunctionType) else getattr(torch.ops.aten, name, None)
    if packet is None:
        return None
    return any(
        torch.Tag.nondeterministic_seeded in getattr(packet, overload).tags
        for overload in packet.overloads()
    )


def reads_data(func: object) -> bool:
    """Whether ``func``, as a function mode sees it, is the reading of ``Tensor.data``."""
    return (
        getattr(func, "__name__", "") == "__get__"
        and getattr(func, "__self__", None) is torch.Tensor.data
    )


def handles_operators_itself(kind: type) -> bool:
    """Whether tensors of this type may do anything in the place of an operator."""
    handler = getattr(kind, "__torch_function__", None)
    return getattr(handler, "__func__", handler) not in _HARMLESS


_HARMLESS = (
    getattr(Tensor.__torch_function__, "__func__", None),
    torch._C._disabled_torch_function_impl,
)


def dispatch_modes_in_place() -> bool:
    """Whether a ``TorchDispatchMode`` is active."""
    return _dispatch_modes() > 0


def function_modes() -> list[TorchFunctionMode]:
    """Return the active function modes but for a default device's, which changes no operator."""
    modes = _get_current_function_mode_stack()  # type: ignore[no-untyped-call]
    return [mode for mode in modes if not isinstance(mode, DeviceContext)]


# Entered once an operator: these are PyTorch's own, without a function around them.
without_subclasses: Callable[[], AbstractContextManager[None]]
without_subclasses = torch._C.DisableTorchFunctionSubclass
"""The context in which tensor subclasses are plain tensors, modes left as they are."""

without_function_modes: Callable[[], AbstractContextManager[None]]
without_function_modes = torch._C.DisableTorchFunction
"""The context in which neither subclasses nor function modes see an operator."""

forward_mode_enabled: Callable[[bool], AbstractContextManager[None]]
forward_mode_enabled = forward_ad._set_fwd_grad_enabled
"""The context in which tangents are followed, or are not."""


record_gradients: Callable[[bool], None] = torch._C._set_grad_enabled
"""Record, or do not, what follows in this thread; a context takes longer than a small operator."""

any_autocast_enabled: Callable[[], bool] = torch._C._is_any_autocast_enabled
"""Whether autocast is on for a kind of device."""


def is_wrapped(tensor: Tensor) -> bool:
    """Whether ``tensor`` is what a transform (``torch.func.jvp``, ``vmap``) wraps around others."""
    return bool(_functorch.is_functorch_wrapped_tensor(tensor))


def unwrapped_tensor(tensor: Tensor) -> Tensor:
    """Return what all transforms in force have wrapped; outside of them it has a graph."""
    while is_wrapped(tensor):
        tensor = _functorch.get_unwrapped(tensor)
    return tensor


def body_of(func: Any) -> Callable[..., Any]:
    """Return a function of ``torch.nn.functional`` that is not itself handed to function modes.

    The operators that it is made of are.
    """
    names = {**func.__globals__, "has_torch_function": _never}
    made = FunctionType(func.__code__, names, func.__name__, func.__defaults__, func.__closure__)
    made.__kwdefaults__ = func.__kwdefaults__
    return made


def _never(_: Any) -> bool:
    return False


def softmax_backward(gradient: Tensor, out: Tensor, dim: int) -> Tensor:
    """Return out (gradient − Σ out gradient), the sum along ``dim``: the Jacobian of a softmax."""
    kernel = torch.ops.aten._softmax_backward_data
    found: Tensor = kernel(gradient, out, dim, out.dtype)
    return found


def safe_softmax(x: Tensor, dim: int) -> Tensor:
    """Return the softmax of ``x``, and zeros where all that is summed over is −∞."""
    found: Tensor = torch.ops.aten._safe_softmax(x, dim)
    return found
