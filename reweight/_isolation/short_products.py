"""Whether PyTorch may round the factors of float32 products to fewer bits than they have."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch


def short_products(devices: Iterable[str]) -> bool:
    """Whether products on one of these kinds of device may be TF32's or bfloat16's.

    PyTorch 2.9 has a setting an operator, and then refuses to read the flags that it had before.

    Args:
        devices: Such as ``"cuda"``.
    """
    return any(_short(device) for device in devices)


def _short(device: str) -> bool:
    backends: Any = torch.backends
    if not hasattr(backends.cuda.matmul, "fp32_precision"):
        flags = (backends.cuda.matmul.allow_tf32, backends.cudnn.allow_tf32)
        return device == "cuda" and any(flags)
    if device == "cuda":
        settings = [backends.cuda.matmul, backends.cudnn.conv, backends.cudnn.rnn]
    else:
        settings = [backends.mkldnn.matmul, backends.mkldnn.conv, backends.mkldnn.rnn]
    return any(setting.fp32_precision in ("tf32", "bf16") for setting in settings)
