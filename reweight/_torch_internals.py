"""Everything of PyTorch's that the library uses and PyTorch does not promise to keep.

What is underscored in PyTorch, or only known from its sources, is named here and nowhere else:
``TABLE`` says what for, the functions wrap it, and ``tests/test_private_names.py`` holds the
behaviour relied on, one test a row. Where a PyTorch release moves one, this file is what to mend.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, MutableMapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._ops import OpOverload, OpOverloadPacket
from torch.autograd import forward_ad
from torch.autograd.graph import Node
from torch.overrides import TorchFunctionMode, _get_current_function_mode_stack
from torch.utils._device import DeviceContext


@dataclass(frozen=True, slots=True)
class PrivateName:
    """One row of the table.

    Attributes:
        name: As PyTorch's sources have it.
        use: What the library needs it for.
        wrapped_by: The function of this file that uses it.
        since: The oldest release in which it does what the library relies on, as tried.
    """

    name: str
    use: str
    wrapped_by: str
    since: str = "2.6"


SavedTensorsHooks = tuple[Callable[[Tensor], Any], Callable[[Any], Tensor]]
_engine: Any = getattr(torch._C, "_autograd")  # noqa: B009 - unknown to the stubs


# Operators and modes -----------------------------------------------------------------------------


def is_custom_operator(func: object) -> bool:
    """Whether ``func`` is an operator of ``torch.ops`` that is not PyTorch's own."""
    if isinstance(func, OpOverload):
        return func.namespace not in _OWN
    return isinstance(func, OpOverloadPacket) and func._qualified_op_name.split("::")[0] not in _OWN


_OWN = ("aten", "prim", "prims")


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
    return torch._C._len_torch_dispatch_stack() > 0


def function_modes() -> list[TorchFunctionMode]:
    """Return the active function modes but for a default device's, which changes no operator."""
    modes = _get_current_function_mode_stack()  # type: ignore[no-untyped-call]
    return [mode for mode in modes if not isinstance(mode, DeviceContext)]


def without_subclasses() -> AbstractContextManager[None]:
    """Return the context in which tensor subclasses are plain tensors, modes left as they are."""
    return torch._C.DisableTorchFunctionSubclass()


def without_function_modes() -> AbstractContextManager[None]:
    """Return the context in which neither subclasses nor function modes see an operator."""
    return torch._C.DisableTorchFunction()


# The graph ---------------------------------------------------------------------------------------


def version(x: Tensor) -> int:
    """Return how often ``x``, or what it shares memory with, has been changed in place."""
    return x._version


def is_view(x: Tensor) -> bool:
    """Whether ``x`` is a view that autograd tracks."""
    return x._is_view()


def leaf_of(node: Node | None) -> Tensor | None:
    """Return the leaf whose gradient ``node`` accumulates, or ``None`` for any other node."""
    found: Tensor | None = getattr(node, "variable", None)
    return found


def batch_norm_statistics(node: Node | None) -> tuple[Tensor, Tensor] | None:
    """Return the mean and the inverse deviation that a batch norm in train mode worked with.

    ``None`` for the node of anything but PyTorch's own kernel (cuDNN and MIOpen keep others).
    """
    if node is None or node.name() != "NativeBatchNormBackward0":
        return None
    kept: Any = node
    return kept._saved_result1, kept._saved_result2


def saved_tensors_hooks_allowed() -> bool:
    """Whether hooks on saved tensors are not barred (``disable_saved_tensors_hooks``)."""
    return bool(_engine._saved_tensors_hooks_is_enabled())


def saved_tensors_hooks() -> SavedTensorsHooks | None:
    """Return the innermost hooks on saved tensors in place, or ``None``."""
    found: SavedTensorsHooks | None = _engine._top_saved_tensors_default_hooks(True)
    return found


def forward_mode_enabled(enabled: bool) -> AbstractContextManager[None]:
    """Return the context in which tangents are followed, or are not."""
    return forward_ad._set_fwd_grad_enabled(enabled)


# The compiler ------------------------------------------------------------------------------------


def compiler_loaded() -> bool:
    """Whether the compiler was imported; before that nothing is compiled, and loading is slow."""
    return "torch._dynamo" in sys.modules


def anything_compiled() -> bool:
    """Whether a function has been compiled since the start, or since ``torch.compiler.reset``."""
    frames = sys.modules.get("torch._dynamo.eval_frame")
    return any(map(callable, getattr(frames, "cached_backends", {}).values()))


def is_compiled(module: nn.Module) -> bool:
    """Whether ``module`` itself runs through ``torch.compile`` (either way to ask for it)."""
    dynamo = sys.modules.get("torch._dynamo")
    if dynamo is None:
        return False
    return (
        isinstance(module, dynamo.OptimizedModule)
        or getattr(module, "_compiled_call_impl", None) is not None
    )


def inside_compiled(module: nn.Module) -> nn.Module | None:
    """Return the module that ``torch.compile`` wrapped in ``module``, or ``None``."""
    dynamo = sys.modules.get("torch._dynamo")
    if dynamo is None or not isinstance(module, dynamo.OptimizedModule):
        return None
    inner: nn.Module = module._orig_mod
    return inner


# Modules -----------------------------------------------------------------------------------------


def parameter_slots(module: nn.Module) -> MutableMapping[str, nn.Parameter | None]:
    """Return the slots of the module's own parameters, as they are: ``None`` for an empty one."""
    return module._parameters


def buffer_slots(module: nn.Module) -> MutableMapping[str, Tensor | None]:
    """Return the slots of the module's own buffers."""
    return module._buffers


def forward_hooks(module: nn.Module) -> bool:
    """Whether hooks of the module see, and may change, what goes in or comes out."""
    return bool(module._forward_hooks or module._forward_pre_hooks)


def backward_hooks(module: nn.Module) -> bool:
    """Whether hooks of the module see, and may change, its gradients."""
    return bool(module._backward_hooks or module._backward_pre_hooks)


def gradient_hooks(x: Tensor) -> Mapping[int, Callable[..., Any]]:
    """Return the hooks on the gradient of ``x`` (``Tensor.register_hook``), by their ids."""
    return getattr(x, "_backward_hooks", None) or {}


TABLE = (
    PrivateName("torch._ops.OpOverload", "tell an operator's library", "is_custom_operator"),
    PrivateName("torch._ops.OpOverloadPacket", "the same, of all overloads", "is_custom_operator"),
    PrivateName("OpOverloadPacket._qualified_op_name", "the same", "is_custom_operator"),
    PrivateName(
        "torch._C._disabled_torch_function_impl",
        "know parameters and other types that change nothing",
        "handles_operators_itself",
    ),
    PrivateName(
        "torch._C._len_torch_dispatch_stack",
        "see that something else sees the operators",
        "dispatch_modes_in_place",
    ),
    PrivateName("torch.overrides._get_current_function_mode_stack", "the same", "function_modes"),
    PrivateName("torch.utils._device.DeviceContext", "a default device is none", "function_modes"),
    PrivateName(
        "torch._C.DisableTorchFunctionSubclass", "read a subclass's flags", "without_subclasses"
    ),
    PrivateName(
        "torch._C.DisableTorchFunction", "run an operator unseen", "without_function_modes"
    ),
    PrivateName("Tensor._version", "see changes in place", "version"),
    PrivateName("Tensor._is_view", "leave a view's history alone", "is_view"),
    PrivateName("AccumulateGrad.variable", "tell a leaf from its alias", "leaf_of"),
    PrivateName(
        "NativeBatchNormBackward0._saved_result1",
        "not compute a batch's statistics twice",
        "batch_norm_statistics",
    ),
    PrivateName("NativeBatchNormBackward0._saved_result2", "the same", "batch_norm_statistics"),
    PrivateName(
        "torch._C._autograd._saved_tensors_hooks_is_enabled",
        "not raise where hooks are barred",
        "saved_tensors_hooks_allowed",
    ),
    PrivateName(
        "torch._C._autograd._top_saved_tensors_default_hooks",
        "leave activation checkpointing and offloading alone",
        "saved_tensors_hooks",
        since="2.8",
    ),
    PrivateName(
        "torch.autograd.forward_ad._set_fwd_grad_enabled",
        "hold constant what is computed under no_grad",
        "forward_mode_enabled",
    ),
    PrivateName("torch._dynamo", "not load the compiler to ask it", "compiler_loaded"),
    PrivateName("torch._dynamo.OptimizedModule", "see torch.compile(module)", "is_compiled"),
    PrivateName("OptimizedModule._orig_mod", "score the module itself", "inside_compiled"),
    PrivateName(
        "torch._dynamo.eval_frame.cached_backends",
        "not follow a pass that may be compiled",
        "anything_compiled",
    ),
    PrivateName("Module._compiled_call_impl", "see Module.compile()", "is_compiled"),
    PrivateName("Module._parameters", "tell own parameters from inherited ones", "parameter_slots"),
    PrivateName("Module._buffers", "put slots back as they were", "buffer_slots"),
    PrivateName("Module._forward_hooks", "know a layer that is not just itself", "forward_hooks"),
    PrivateName("Module._forward_pre_hooks", "the same", "forward_hooks"),
    PrivateName("Module._backward_hooks", "the same", "backward_hooks"),
    PrivateName("Module._backward_pre_hooks", "the same", "backward_hooks"),
    PrivateName("Tensor._backward_hooks", "see hooks that change a gradient", "gradient_hooks"),
)
"""Every such name in use."""
