"""Feeding a batch of any nesting to a model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

Forward = Callable[[nn.Module, Any], Tensor]
Loss = Callable[[Any, Any], Tensor]


class SupervisedForward:
    """The ``forward(model, batch) -> losses`` of an ``(input, target)`` batch.

    A tuple or list as input is spread over the model's positional arguments, a dict over its
    keyword arguments; the model's output and the target go to ``loss`` as they are.
    """

    def __init__(self, loss: Loss) -> None:
        self.loss = loss

    def __call__(self, model: nn.Module, batch: Any) -> Tensor:
        """Return what the loss makes of the model's output and the target.

        Raises:
            TypeError: If ``batch`` is not a pair.
        """
        if not isinstance(batch, tuple | list) or len(batch) != 2:
            raise TypeError(
                f"a batch must be a pair (input, target), got {describe(batch)}. For batches of "
                f"another form pass forward=, a function (model, batch) -> losses."
            )
        value, target = batch
        if isinstance(value, Mapping):
            output = model(**value)
        elif isinstance(value, tuple | list):
            output = model(*value)
        else:
            output = model(value)
        return self.loss(output, target)


def describe(value: Any) -> str:
    """Say in a few words what ``value`` is, for an error message."""
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    if isinstance(value, tuple | list | dict):
        return f"a {type(value).__name__} of length {len(value)}"
    return f"a {type(value).__name__}"
