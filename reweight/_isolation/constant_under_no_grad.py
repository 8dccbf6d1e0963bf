"""What a model computes under ``torch.no_grad``, in forward mode."""

from __future__ import annotations

from typing import Any

import torch
from torch.autograd import forward_ad
from torch.overrides import TorchFunctionMode


class ConstantUnderNoGrad(TorchFunctionMode):
    """Treat what the body computes under ``torch.no_grad`` as constant in forward mode too.

    Reverse mode does; forward mode, left alone, differentiates through it.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if torch.is_grad_enabled():
            return func(*args, **(kwargs or {}))
        with forward_ad._set_fwd_grad_enabled(False):
            return func(*args, **(kwargs or {}))
