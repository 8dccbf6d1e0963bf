"""Whether PyTorch may round the factors of float32 products to fewer bits than they have."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

_SHORT = ("tf32", "bf16")


def short_products(devices: Iterable[str], *, convolutions: bool = True) -> bool:
    """Whether products on one of these kinds of device may be TF32's or bfloat16's.

    PyTorch 2.9 has a setting an operator, and then refuses to read the flags that it had before.

    Args:
        devices: Such as ``"cuda"``.
        convolutions: Whether there are any, or recurrent layers: there cuDNN may be at work.
    """
    return any(_matrices(device) or (convolutions and _cudnn(device)) for device in devices)


@contextmanager
def products_in_full() -> Iterator[None]:
    """Run the body with all bits of float32 factors: slower, where they were to be rounded.

    For convolutions cuDNN is left out altogether. Its own setting, once written, no longer follows
    ``torch.backends.fp32_precision``, so that it could not be put back as it was.
    """
    backends: Any = torch.backends
    with ExitStack() as stack:
        if _cudnn("cuda"):
            stack.callback(setattr, backends.cudnn, "enabled", True)
            backends.cudnn.enabled = False
        if _matrices("cuda") or _matrices("cpu"):
            try:
                before = torch.get_float32_matmul_precision()
            except RuntimeError:  # a setting of the new kind has been written
                before = "highest"
            if before != "highest":
                stack.callback(torch.set_float32_matmul_precision, before)
                torch.set_float32_matmul_precision("highest")
        if hasattr(backends.cuda.matmul, "fp32_precision"):
            mkldnn = backends.mkldnn
            for setting in (backends.cuda.matmul, mkldnn.matmul, mkldnn.conv, mkldnn.rnn):
                if setting.fp32_precision in _SHORT:
                    stack.callback(_put_back, setting, setting.fp32_precision)
                    setting.fp32_precision = "ieee"
        yield


def _put_back(setting: Any, before: str) -> None:
    setting.fp32_precision = "none"  # as if never written, where it then follows another
    if setting.fp32_precision != before:
        setting.fp32_precision = before


def _matrices(device: str) -> bool:
    backends: Any = torch.backends
    if not hasattr(backends.cuda.matmul, "fp32_precision"):
        return bool(device == "cuda" and backends.cuda.matmul.allow_tf32)
    if device == "cuda":
        settings = [backends.cuda.matmul]
    else:
        settings = [backends.mkldnn.matmul, backends.mkldnn.conv, backends.mkldnn.rnn]
    return any(setting.fp32_precision in _SHORT for setting in settings)


def _cudnn(device: str) -> bool:
    """Whether cuDNN's convolutions and recurrent layers may be short, as they are by default."""
    cudnn: Any = torch.backends.cudnn
    if device != "cuda" or not cudnn.enabled:
        return False
    if not hasattr(cudnn, "conv"):
        return bool(cudnn.allow_tf32)
    return cudnn.conv.fp32_precision in _SHORT or cudnn.rnn.fp32_precision in _SHORT
