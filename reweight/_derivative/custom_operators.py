"""Operators that are not PyTorch's own (``torch.library``, extensions)."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.autograd import forward_ad
from torch.overrides import TorchFunctionMode

from reweight._torch_internals import is_custom_operator, without_function_modes


class CustomOperatorsRefused(TorchFunctionMode):
    """Raise ``NotImplementedError`` where a custom operator meets a tangent.

    Forward mode, left alone, takes what an operator of ``torch.library`` returns for a constant.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        given = (*args, *(kwargs or {}).values())
        if is_custom_operator(func) and any(_has_tangent(value) for value in given):
            raise NotImplementedError(
                f"Trying to use forward AD with {func} that does not support it"
            )
        return func(*args, **(kwargs or {}))


def _has_tangent(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return any(map(_has_tangent, value))
    if not isinstance(value, Tensor):
        return False
    with without_function_modes():
        return forward_ad.unpack_dual(value).tangent is not None  # type: ignore[no-untyped-call]
