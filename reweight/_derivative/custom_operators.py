"""Operators that are not PyTorch's own (``torch.library``, extensions)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload, OpOverloadPacket
from torch.autograd import forward_ad
from torch.overrides import TorchFunctionMode

_OWN = ("aten", "prim", "prims")


def is_custom(func: object) -> bool:
    """Whether an operator is not PyTorch's own."""
    if isinstance(func, OpOverload):
        return func.namespace not in _OWN
    return isinstance(func, OpOverloadPacket) and func._qualified_op_name.split("::")[0] not in _OWN


class CustomOperatorsRefused(TorchFunctionMode):
    """Raise ``NotImplementedError`` where a custom operator meets a tangent.

    Forward mode, left alone, takes what an operator of ``torch.library`` returns for a constant.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        given = (*args, *(kwargs or {}).values())
        if is_custom(func) and any(_has_tangent(value) for value in given):
            raise NotImplementedError(
                f"Trying to use forward AD with {func} that does not support it"
            )
        return func(*args, **(kwargs or {}))


def _has_tangent(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return any(map(_has_tangent, value))
    if not isinstance(value, Tensor):
        return False
    with torch._C.DisableTorchFunction():
        return forward_ad.unpack_dual(value).tangent is not None  # type: ignore[no-untyped-call]
