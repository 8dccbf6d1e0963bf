"""Batches of any nesting: feeding one to a model, and leaving samples out of one."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from typing import Any

import torch
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


def fresh(batch: Any) -> Any:
    """Return ``batch`` with its own containers and tensors, for a pass that may change them.

    Models pop keys and scale inputs in place. What is not a tensor, mapping, list, tuple or named
    tuple is shared.
    """
    if isinstance(batch, Tensor):
        return batch.detach().clone()
    if isinstance(batch, MutableMapping):
        return _with_values(batch, {key: fresh(value) for key, value in batch.items()})
    if type(batch) in (tuple, list) or (isinstance(batch, tuple) and hasattr(batch, "_fields")):
        return _with_parts(batch, [fresh(value) for value in batch])
    return batch


def _with_values(batch: MutableMapping[Any, Any], values: Mapping[Any, Any]) -> Any:
    """Return a mapping of the kind of ``batch`` with ``values`` for its values."""
    # A copy keeps what more the kind has: a default factory, or a tokenizer's encodings.
    other = copy.copy(batch)
    other.update(values)
    return other


def _with_parts(batch: Sequence[Any], parts: list[Any]) -> Any:
    """Return a tuple, named tuple or list of the kind of ``batch`` with these ``parts``."""
    kind: Any = type(batch)
    return kind(*parts) if hasattr(batch, "_fields") else kind(parts)


def narrow(batch: Any, kept: Tensor) -> Any:
    """Return ``batch`` with only the samples that ``kept``, ``(C,)`` bool, marks.

    Tensors whose first side is C are indexed; lists and tuples of C plain values are filtered;
    tuples, lists and dicts are followed; numbers, strings and ``None`` stay.

    Raises:
        TypeError: If something else is in the batch, so that leaving a sample out is a guess.
        ValueError: If nothing in the batch has C samples.
    """
    narrowed, found = _narrow(batch, kept)
    if not found:
        raise ValueError(
            f'on_nonfinite="drop" cannot leave samples out: there are {kept.numel()} losses, and '
            f"nothing in the batch has that many rows. Return one row of losses per sample from "
            f"forward=, or filter the batch before the call."
        )
    return narrowed


def _narrow(batch: Any, kept: Tensor) -> tuple[Any, bool]:
    count = kept.numel()
    if isinstance(batch, Tensor):
        same = batch.dim() > 0 and batch.shape[0] == count
        return (batch[kept.to(batch.device)] if same else batch), same
    if isinstance(batch, MutableMapping):
        inside = {key: _narrow(value, kept) for key, value in batch.items()}
        values = {key: value for key, (value, _) in inside.items()}
        return _with_values(batch, values), any(found for _, found in inside.values())
    if isinstance(batch, tuple | list):
        plain = all(isinstance(value, str | bytes | int | float) for value in batch)
        if plain and len(batch) == count:
            parts = [value for value, keep in zip(batch, kept.tolist(), strict=True) if keep]
            found = True
        else:
            pairs = [_narrow(value, kept) for value in batch]
            parts, found = [value for value, _ in pairs], any(found for _, found in pairs)
        return _with_parts(batch, parts), found
    if batch is None or isinstance(batch, str | bytes | int | float):
        return batch, False
    raise TypeError(
        f'on_nonfinite="drop" cannot leave samples out of {describe(batch)}: it knows tensors, '
        f"tuples, lists and dicts. Give the batch as those, or filter it before the call."
    )


def nonfinite_samples(batch: Any, count: int) -> Tensor:
    """Mark, ``(C,)`` bool, the samples with a NaN or infinity in a floating-point tensor."""
    bad = torch.zeros(count, dtype=torch.bool)
    if isinstance(batch, Tensor):
        if batch.is_floating_point() and batch.dim() > 0 and batch.shape[0] == count:
            bad |= ~batch.detach().isfinite().reshape(count, -1).all(dim=1).cpu()
    elif isinstance(batch, Mapping):
        for value in batch.values():
            bad |= nonfinite_samples(value, count)
    elif isinstance(batch, tuple | list):
        for value in batch:
            bad |= nonfinite_samples(value, count)
    return bad
