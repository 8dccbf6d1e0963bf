"""The exact ways to take directional derivatives, and why one is left for the next."""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import torch

Method = Literal["forward", "double_backward", "per_sample", "finite_difference", "layer_products"]
WAYS: tuple[Method, ...] = ("forward", "double_backward", "per_sample")
"""Exact ways, the cheapest first. The last goes wherever training goes.

``"layer_products"`` is as exact, for models that keep samples apart; it gives the
weighted gradients of training, too, and so is of a training step alone.
"""

PRICES = {
    "forward": "three forward passes more",
    "double_backward": "a second backward pass, about 3.5 times a plain step in all",
    "per_sample": "one backward pass a sample: method='finite_difference' is cheaper, approximate",
}

_TORCH = str(Path(torch.__file__).parent)
_NAMED = (
    re.compile(r"forward AD with (\S+) that does not support it"),
    re.compile(r"derivative for (\S+) is not implemented"),
)
_QUOTES = "'"
_WITHOUT_CUDNN = (
    "It is a recurrent layer by cuDNN; with torch.backends.cudnn.flags(enabled=False) around the "
    "training step PyTorch takes operators of its own, slower ones, that have it."
)


@contextmanager
def missing_derivatives_named(method: str) -> Iterator[None]:
    """Say what to do where PyTorch lacks a derivative that a method asked for by name needs."""
    try:
        yield
    except NotImplementedError as error:
        if not any(pattern.search(str(error)) for pattern in _NAMED):
            raise
        reason = why(error, method)
        hint = f" {_WITHOUT_CUDNN}" if "cudnn_rnn" in reason and method != "forward" else ""
        raise NotImplementedError(
            f'method="{method}" does not go here: {reason}. Use method="auto", which takes a way '
            f"that goes.{hint}"
        ) from error


def why(error: Exception, way: str) -> str:
    """Say in a few words why ``way`` did not go, and name the operator where that can be told."""
    rule = "forward-mode" if way == "forward" else "second"
    message = str(error)
    for pattern in _NAMED:
        if found := pattern.search(message):
            return f"{found[1].strip(_QUOTES)} has no {rule} derivative"
    if "jvp function for custom autograd.Function" in message:
        # The message does not say which; the line of the user's code that applied it does.
        calls = [
            f"{frame.line} ({frame.filename}:{frame.lineno})"
            for frame in traceback.extract_tb(error.__traceback__)
            if frame.line and ".apply(" in frame.line and not frame.filename.startswith(_TORCH)
        ]
        return f"{calls[-1] if calls else 'a custom autograd.Function'} has no {rule} derivative"
    first = message.strip().partition("\n")[0]
    return f"{way} stopped with {type(error).__name__}: {first[:160]}"
