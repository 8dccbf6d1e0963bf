"""Recognising that an operator lacks a derivative rule, and naming it."""

from __future__ import annotations

import re
import traceback
from pathlib import Path

import torch

_TORCH = str(Path(torch.__file__).parent)
_FORWARD = re.compile(r"forward AD with (\S+) that does not support it")
_SECOND = re.compile(r"derivative for (\S+) is not implemented")


def without_forward_rule(error: NotImplementedError) -> str | None:
    """Return the operator that ``error`` says has no forward-mode derivative, else ``None``."""
    message = str(error)
    found = _FORWARD.search(message)
    if found:
        return found[1]
    if "jvp function for custom autograd.Function" in message:
        # The message does not say which; the line of the user's code that applied it does.
        calls = [
            f"{frame.line} ({frame.filename}:{frame.lineno})"
            for frame in traceback.extract_tb(error.__traceback__)
            if frame.line and ".apply(" in frame.line and not frame.filename.startswith(_TORCH)
        ]
        return calls[-1] if calls else "a custom autograd.Function"
    return None


def without_second_derivative(error: RuntimeError) -> str | None:
    """Return the operator that ``error`` says cannot be differentiated twice, else ``None``."""
    found = _SECOND.search(str(error))
    return found[1] if found else None
