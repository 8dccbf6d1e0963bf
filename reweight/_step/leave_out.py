"""Leaving samples out of a batch."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from typing import Any

import torch
from torch import Tensor

from reweight._isolation.batches import with_parts, with_values
from reweight._step.batches import describe


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
        return with_values(batch, values), any(found for _, found in inside.values())
    if isinstance(batch, tuple | list):
        plain = all(isinstance(value, str | bytes | int | float) for value in batch)
        if plain and len(batch) == count:
            parts = [value for value, keep in zip(batch, kept.tolist(), strict=True) if keep]
            found = True
        else:
            pairs = [_narrow(value, kept) for value in batch]
            parts, found = [value for value, _ in pairs], any(found for _, found in pairs)
        return with_parts(batch, parts), found
    if batch is None or isinstance(batch, str | bytes | int | float):
        return batch, False
    raise TypeError(
        f'on_nonfinite="drop" cannot leave samples out of {describe(batch)}: it knows tensors, '
        f"tuples, lists and dicts. Give the batch as those, or filter it before the call."
    )


def nonfinite_samples(batch: Any, count: int) -> Tensor:
    """Mark, ``(C,)`` bool, the samples with a NaN or infinity in a floating-point tensor."""
    bad = torch.zeros(count, dtype=torch.bool, device="cpu")
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
