"""Which samples of a batch hold a value that is not finite."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, unpack_sequence

from reweight._step.first_sides import first_sides


def nonfinite_samples(batch: Any, count: int) -> Tensor:
    """Mark, ``(C,)`` bool, the samples with a NaN or infinity in a floating-point tensor."""
    bad = torch.zeros(count, dtype=torch.bool, device="cpu")
    if isinstance(batch, PackedSequence):
        return nonfinite_samples(unpack_sequence(batch), count)
    if isinstance(batch, Tensor):
        if batch.is_nested:
            return nonfinite_samples(list(batch.unbind()), count)
        if batch.layout == torch.strided and batch.dim() > 0 and batch.shape[0] == count:
            bad |= ~_finite(batch).reshape(count, -1).all(dim=1).cpu()
    elif isinstance(batch, Mapping):
        for value in batch.values():
            bad |= nonfinite_samples(value, count)
    elif isinstance(batch, tuple | list):
        each = [count in first_sides(value) for value in batch]
        if len(batch) == count and not any(each):
            bad |= torch.tensor([_any_nonfinite(value) for value in batch], device="cpu")
        for value in batch:
            bad |= nonfinite_samples(value, count)
    return bad


def _finite(values: Tensor) -> Tensor:
    values = values.detach()
    return values.isfinite() if values.is_floating_point() else torch.ones_like(values).bool()


def _any_nonfinite(value: Any) -> bool:
    if isinstance(value, Tensor):
        return value.layout == torch.strided and not bool(_finite(value).all())
    if isinstance(value, Mapping):
        return any(_any_nonfinite(each) for each in value.values())
    return isinstance(value, tuple | list) and any(_any_nonfinite(each) for each in value)
