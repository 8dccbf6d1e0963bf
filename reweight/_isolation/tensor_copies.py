"""Copies of tensors that share memory as the tensors do, and whether two tensors are equal."""

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
        plain = type(value) is Tensor
        if not value.is_leaf or (not plain and isinstance(value, nn.Parameter)):
            return value.clone()
        if value.requires_grad:
            return value.detach().clone().requires_grad_()
        if not plain or value.layout != torch.strided:
            return value.detach().clone()
        storage = _storage(value)
        part = self._part(value, storage)
        if part is not None:
            return part
        made = value.clone()
        if storage and value.is_contiguous():
            self._storages.setdefault(storage, (value, made))
        return made

    def _part(self, value: Tensor, storage: int) -> Tensor | None:
        known = self._storages.get(storage)
        if known is None:
            return None
        whole, made = known
        start = value.storage_offset() - whole.storage_offset()
        if whole.dtype != value.dtype or start < 0 or start + _extent(value) > whole.numel():
            return None
        return made.as_strided(value.shape, value.stride(), made.storage_offset() + start)


def bytes_of(value: Tensor) -> int:
    """Return how much memory a tensor takes, of any layout."""
    if value.layout == torch.sparse_coo:
        whole = value.detach().coalesce()
        return whole.indices().nbytes + whole.values().nbytes
    return value.nbytes


def equal(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors of one layout, whichever it is, hold the same; false where unknown."""
    if a.layout == torch.strided and not a.is_nested:
        return torch.equal(a, b)
    parts = _PARTS.get(a.layout)
    if parts is None or a.layout != b.layout:
        return False
    if a.layout == torch.sparse_coo:
        a, b = a.coalesce(), b.coalesce()
    return a.shape == b.shape and all(
        torch.equal(getattr(a, part)(), getattr(b, part)()) for part in parts
    )


_ROWS = ("crow_indices", "col_indices", "values")
_COLUMNS = ("ccol_indices", "row_indices", "values")
_PARTS = {
    torch.sparse_coo: ("indices", "values"),
    torch.sparse_csr: _ROWS,
    torch.sparse_bsr: _ROWS,
    torch.sparse_csc: _COLUMNS,
    torch.sparse_bsc: _COLUMNS,
}


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
