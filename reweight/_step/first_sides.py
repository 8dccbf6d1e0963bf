"""How many samples a batch seems to hold, and whether the losses are as many."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from reweight._isolation.fields import fields_of, is_opaque

PLAIN = (str, bytes, int, float, complex)


def first_sides(value: Any) -> set[int]:
    """Return every number that may be that of the samples in ``value``.

    The first sides of tensors and arrays, wherever they are, the length of lists (a list may hold
    one entry a sample), how many sequences are packed, how many entries a mask selects.
    """
    return set(_sides(value, {}))


def _sides(value: Any, seen: dict[int, Any]) -> Iterator[int]:
    if value is None or isinstance(value, PLAIN) or id(value) in seen:
        return
    seen[id(value)] = value
    shape = getattr(value, "shape", None)
    if isinstance(value, Tensor):
        yield value.size(0) if value.dim() > 0 else 1
        if value.dtype == torch.bool and value.dim() == 1:
            yield int(value.sum())
    elif isinstance(value, PackedSequence):
        yield int(value.batch_sizes[0])
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from _sides(part, seen)
    elif isinstance(value, tuple | list):
        if isinstance(value, list) or all(isinstance(part, PLAIN) for part in value):
            yield len(value)
        for part in value:
            yield from _sides(part, seen)
    elif isinstance(shape, tuple) and shape and isinstance(shape[0], int):
        yield shape[0]
    elif not is_opaque(value):
        for _, part in list(fields_of(value)):
            yield from _sides(part, seen)


class OnePerSample:
    """Says, once, if the losses are not as many as the samples that the batch seems to hold.

    Args:
        loss: The loss function. One that says of itself that it sums over the batch, as MONAI's
            do by ``batch=True``, may have as many classes as there are samples.
    """

    def __init__(self, loss: Any = None) -> None:
        self._said = False
        parts = list(loss.modules()) if isinstance(loss, nn.Module) else []
        self._over_batch = any(getattr(part, "batch", None) is True for part in parts)

    def check(self, count: int, batch: Any) -> None:
        """Warn if nothing in ``batch`` has ``count`` for its first side.

        In a pair ``(input, target)`` the target decides. Where it says another number the input
        may still be right (boxes in one tensor), unless its *second* side is the target's.
        """
        if self._said:
            return
        pair = isinstance(batch, tuple | list) and len(batch) == 2
        target = batch[1] if pair else batch
        alike = isinstance(target, Tensor) and target.dim() > 0 and target.shape[0] == count
        if alike and self._over_batch and count > 1:
            self._said = True
            warnings.warn(_OVER_BATCH, UserWarning, stacklevel=_to_the_caller())
        if alike:
            return
        if pair:
            expected = first_sides(target)
            given = first_sides(batch[0])
            sides = batch[0].shape[:2] if isinstance(batch[0], Tensor) else ()
            time_first = len(sides) == 2 and sides[1] in expected
            if count in expected or (count in given and not time_first):
                return
            expected = expected or given
        else:
            expected = first_sides(batch)
            if count in expected:
                return
        if expected:
            self._said = True
            warnings.warn(_message(count, expected), UserWarning, stacklevel=_to_the_caller())


_OVER_BATCH = (
    "the loss returned as many values as there are samples, and has batch=True: its values are of "
    "classes, each over the whole batch, and the weights of samples would go to classes. Build it "
    "with batch=False."
)


def _message(count: int, expected: set[int]) -> str:
    numbers = sorted(expected)
    samples = " or ".join(map(str, numbers[:4])) + (", …" if len(numbers) > 4 else "")
    return (
        f"the loss returned {count} value(s) along its first side, and the batch seems to hold "
        f"{samples} sample(s). Each entry of that side is given a weight. A loss over the whole "
        f"batch (one value a class, as of a Dice with batch=True), time before the batch, or "
        f"tokens flattened into the batch give such losses. Return (C,) or (C, ...), the samples "
        f'first (to weigh tokens or voxels: (C, T) with granularity="element"). If it is meant '
        f"so, say it by a forward= that returns (losses, counted), counted a bool tensor of the "
        f"losses' shape, true where a loss counts."
    )


def _to_the_caller() -> int:
    """Return the ``stacklevel`` of whoever called into the library: it is theirs to mend."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in (
        "reweight",
        "torch",
    ):
        level, frame = level + 1, frame.f_back
    return level
