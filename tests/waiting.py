"""Counting how often code asks a tensor for a value that Python then knows.

On an accelerator each of them waits until everything that was queued before is done.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
from torch import Tensor

_ASKING = (
    "__bool__ __float__ __int__ __index__ __complex__ __contains__ item tolist numpy nonzero "
    "is_nonzero masked_select unique unique_consecutive equal cpu allclose"
)
_FUNCTIONS = "equal nonzero masked_select unique unique_consecutive is_nonzero allclose"
# Generators' states are kept on the CPU, and so are ids, as a loader leaves them.
_ON_THE_HOST = ("_isolation/random_state.py", "_step/rows.py")


@contextmanager
def waits() -> Iterator[list[str]]:
    """Yield the lines of the library that ask in the body, one entry for each time."""
    found: list[str] = []
    inside = [False]

    def note(what: str) -> None:
        stack = traceback.extract_stack()
        # A step of an optimiser of PyTorch's counts on the CPU.
        if any("torch/optim/" in frame.filename for frame in stack[-12:]):
            return
        lines = [
            f"{frame.filename.rpartition('/reweight/')[2]}:{frame.lineno} {what}"
            for frame in stack
            if "/reweight/" in frame.filename and "/tests/" not in frame.filename
        ]
        if lines and not lines[-1].startswith(_ON_THE_HOST):
            found.append(lines[-1])

    def counted(original: Any, what: str) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            if inside[0]:
                return original(*args, **kwargs)
            inside[0] = True
            try:
                note(what)
                return original(*args, **kwargs)
            finally:
                inside[0] = False

        return call

    def indexed(original: Any, what: str) -> Any:
        def call(tensor: Tensor, key: Any, *value: Any) -> Any:
            keys = key if isinstance(key, tuple) else (key,)
            if any(isinstance(k, Tensor) and k.dtype in (torch.bool, torch.uint8) for k in keys):
                note(f"{what} by a mask")
            return original(tensor, key, *value)

        return call

    with (
        mock.patch.multiple(
            Tensor,
            **{
                name: counted(getattr(Tensor, name), name)
                for name in _ASKING.split()
                if hasattr(Tensor, name)
            },
            __getitem__=indexed(Tensor.__getitem__, "reading"),
            __setitem__=indexed(Tensor.__setitem__, "writing"),
        ),
        mock.patch.multiple(
            torch, **{name: counted(getattr(torch, name), name) for name in _FUNCTIONS.split()}
        ),
    ):
        yield found
