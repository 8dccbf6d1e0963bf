"""Copies of tensors that share memory as the tensors do."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class TensorCopies:
    """Copies tensors; a part of one that was copied before becomes that part of its copy."""

    def __init__(self) -> None:
        self._storages: dict[int, tuple[Tensor, Tensor]] = {}

    def of(self, value: Tensor) -> Tensor:
        """Return a copy of ``value``, of any layout or subclass, that requires what it requires.

        A leaf's is a leaf. What was computed from something, and a parameter, stay connected.
        """
        if isinstance(value, nn.Parameter) or not value.is_leaf:
            return value.clone()
        part = self._view(value)
        made = value.detach().clone() if part is None else part
        self._remember(value, made)
        return made.requires_grad_(value.requires_grad)

    def _view(self, value: Tensor) -> Tensor | None:
        """Return ``value`` as a part of a copy made before, where it is a part of that tensor."""
        if type(value) is not Tensor or value.layout != torch.strided or value.requires_grad:
            return None
        known = self._storages.get(_storage(value))
        if known is None:
            return None
        whole, made = known
        start = value.storage_offset() - whole.storage_offset()
        if whole.dtype != value.dtype or start < 0 or start + _extent(value) > whole.numel():
            return None
        return made.as_strided(value.shape, value.stride(), made.storage_offset() + start)

    def _remember(self, value: Tensor, made: Tensor) -> None:
        if type(value) is Tensor and value.layout == torch.strided and value.is_contiguous():
            storage = _storage(value)
            if storage and not value.requires_grad:
                self._storages.setdefault(storage, (value, made))


def _storage(value: Tensor) -> int:
    try:
        return value.untyped_storage().data_ptr()
    except (NotImplementedError, RuntimeError):  # a device without storages
        return 0


def _extent(value: Tensor) -> int:
    """Return how many elements of memory lie between the first of ``value`` and its last."""
    if value.numel() == 0:
        return 0
    return 1 + sum((n - 1) * step for n, step in zip(value.shape, value.stride(), strict=True))
