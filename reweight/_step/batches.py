"""Feeding a batch of any nesting to a model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from torch import Tensor, nn

from reweight._isolation.predictions import Supervised
from reweight._step.arguments import Arguments, note
from reweight._step.ignored import ignored_values, maybe_ignored
from reweight._step.sample_losses import SampleLosses

Found: TypeAlias = Tensor | tuple[Tensor, Tensor] | SampleLosses
Forward = Callable[[nn.Module, Any], Found]
Loss = Callable[[Any, Any], Tensor]


class SupervisedForward:
    """The ``forward(model, batch) -> losses`` of an ``(input, target)`` batch.

    A tuple or list as input is spread over the model's positional arguments, unless it is one
    argument (:class:`~reweight._step.arguments.Arguments`), a dict over its keyword arguments; the
    model's output and the target go to ``loss`` as they are.

    Attributes:
        loss: The loss function.
    """

    def __init__(self, loss: Loss) -> None:
        self.loss = loss
        self._arguments = Arguments()
        self._ignored = ignored_values(loss)

    def __call__(self, model: nn.Module, batch: Any) -> Tensor:
        """Return what the loss makes of the model's output and the target.

        Raises:
            TypeError: If ``batch`` is not a pair.
        """
        source = self.source(model, batch)
        return self.loss(source.output, source.target)

    def source(self, model: nn.Module, batch: Any) -> Supervised:
        """Return what the losses are made of.

        Raises:
            TypeError: If ``batch`` is not a pair.
        """
        if not isinstance(batch, tuple | list) or len(batch) != 2:
            raise TypeError(
                f"a batch must be a pair (input, target), got {describe(batch)}. For batches of "
                f"another form pass forward=, a function (model, batch) -> losses."
            )
        value, target = batch
        output = self._output(model, value, target)
        return Supervised(output, target, self._ignored, self.loss)

    def maybe_ignored(self, losses: Tensor, batch: Any) -> Tensor | None:
        """Return where the target is one to be ignored, bool, in the losses' shape.

        That may be nowhere; ``None`` if it cannot be anywhere.
        """
        return maybe_ignored(losses, batch[1], self._ignored)

    def _output(self, model: nn.Module, value: Any, target: Any) -> Any:
        named = isinstance(value, Mapping)
        listed = isinstance(value, tuple | list) and self._arguments.are_spread(
            model, value, target
        )
        if not named and not listed:
            return model(value)
        try:
            return model(**value) if named else model(*value)
        except TypeError as error:
            if "argument" in str(error):
                how = "keyword" if named else "positional"
                error.add_note(note(model, f"{describe(value)}, was spread over the {how}"))
            raise


def describe(value: Any) -> str:
    """Say in a few words what ``value`` is, for an error message."""
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    if isinstance(value, tuple | list | dict):
        return f"a {type(value).__name__} of length {len(value)}"
    return f"a {type(value).__name__}"
