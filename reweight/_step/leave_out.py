"""Leaving samples out of a batch."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any, NoReturn

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_sequence, unpack_sequence

from reweight._isolation.batches import with_values
from reweight._isolation.copies import with_parts
from reweight._step.batches import describe
from reweight._step.first_sides import PLAIN, first_sides
from reweight._step.ragged import ragged_by_name, ragged_by_value

LeaveOut = Callable[[Any, Tensor], Any]

_HOW = (
    "Pass leave_out=, a function (batch, kept) -> batch that returns the batch with only the "
    "samples that kept, (C,) bool, marks; or filter the batch before the call."
)


def narrow(batch: Any, kept: Tensor) -> Any:
    """Return ``batch`` with only the samples that ``kept``, ``(C,)`` bool, marks.

    Tensors and arrays whose first side is C are indexed, lists of one entry a sample filtered,
    packed and nested sequences taken apart and put together again; tuples, lists and dicts are
    followed; numbers, strings, scalars and tensors that are broadcast, ``(1, ...)``, stay.

    Raises:
        TypeError: If something else is in the batch, so that leaving a sample out is a guess.
        ValueError: If a tensor has another first side, or one looks like offsets into another, or
            a list may hold samples as well as inputs; or if nothing in the batch has C samples.
    """
    narrowing = _Narrowing(kept)
    narrowed = narrowing.of(batch, pair=isinstance(batch, tuple | list) and len(batch) == 2)
    if not narrowing.found:
        narrowing.refuse("nothing in the batch has that many rows")
    return narrowed


class _Narrowing:
    def __init__(self, kept: Tensor) -> None:
        self.kept = kept.cpu()
        self.count = kept.numel()
        self.found = False
        self._made: dict[int, tuple[Any, Any]] = {}

    def of(self, value: Any, *, pair: bool = False) -> Any:
        if value is None or isinstance(value, PLAIN):
            return value
        if id(value) not in self._made:
            self._made[id(value)] = value, self._of(value, pair)
        return self._made[id(value)][1]

    def refuse(self, why: str, kind: type[Exception] = ValueError) -> NoReturn:
        raise kind(
            f'on_nonfinite="drop" cannot leave samples out: there are {self.count} losses, and '
            f"{why}. {_HOW}"
        )

    def _of(self, value: Any, pair: bool) -> Any:
        if isinstance(value, Tensor):
            return self._tensor(value)
        if isinstance(value, PackedSequence):
            sequences = unpack_sequence(value)
            self._same(len(sequences), describe(value))
            some = [each for each, keep in zip(sequences, self.kept, strict=True) if keep]
            with torch.device("cpu"):  # else it makes lengths on the default device
                return pack_sequence(some, enforce_sorted=value.unsorted_indices is None)
        if isinstance(value, MutableMapping):
            return self._mapping(value)
        if isinstance(value, tuple | list):
            return self._sequence(value, pair)
        numpy = sys.modules.get("numpy")
        if numpy is not None and isinstance(value, numpy.ndarray):
            stays = self._stays(value.shape)
            return value if stays else value[self.kept.numpy()]
        return self.refuse(
            f"how to leave one out of a {type(value).__name__} is not known: known are tensors, "
            f"tuples, lists and dicts",
            TypeError,
        )

    def _tensor(self, value: Tensor) -> Tensor:
        if value.is_nested:
            self._same(value.size(0), "a nested tensor")
            some = [each for each, keep in zip(value.unbind(), self.kept, strict=True) if keep]
            return torch.nested.as_nested_tensor(some, layout=value.layout)
        if self._stays(value.shape):
            return value
        if value.layout != torch.strided:
            return value.index_select(0, self.kept.nonzero().flatten().to(value.device))
        kept = self.kept.to(value.device)
        if value.grad_fn is not None and not value.detach()[~kept].isfinite().all():
            self.refuse(
                "an input that is not finite was computed before the step by something that "
                "requires a gradient, in which it stays (0 · NaN is NaN)"
            )
        return value[kept]

    def _stays(self, shape: Any) -> bool:
        """Whether a tensor of this ``shape`` belongs to all samples alike."""
        broadcast = len(shape) > 1 and shape[0] == 1 != self.count and self.count not in shape[1:]
        if len(shape) == 0 or broadcast:
            return True
        self._same(shape[0], f"a tensor of shape {tuple(shape)}")
        return False

    def _same(self, rows: int, what: str) -> None:
        if rows != self.count:
            self.refuse(f"the batch holds {what}, in which samples cannot be told apart")
        self.found = True

    def _refuse_ragged(self, name: str) -> NoReturn:
        self.refuse(f"{name!r} looks like places in another tensor, or lengths of its parts")

    def _mapping(self, value: MutableMapping[Any, Any]) -> Any:
        name = ragged_by_name(value, self.count)
        if name is not None:
            self._refuse_ragged(name)
        return with_values(value, {key: self.of(each) for key, each in value.items()})

    def _sequence(self, value: Any, pair: bool) -> Any:
        if hasattr(value, "_fields"):
            named = dict(zip(value._fields, value, strict=True))
            name = ragged_by_name(named, self.count)
            if name is not None:
                self._refuse_ragged(name)
        elif not pair and ragged_by_value(value, self.count):
            self.refuse("one of the batch's tensors looks like offsets into another")
        elif len(value) == self.count and not pair and self._one_a_sample(value):
            self.found = True
            return with_parts(value, [x for x, keep in zip(value, self.kept, strict=True) if keep])
        return with_parts(value, [self.of(part) for part in value])

    def _one_a_sample(self, value: Any) -> bool:
        """Whether a tuple or list as long as the batch has one entry a sample."""
        if all(isinstance(part, PLAIN) for part in value):
            return True
        if len({type(part) for part in value}) > 1:
            return False
        if isinstance(value[0], Mapping):
            return True
        aligned = [self.count in first_sides(part) for part in value]
        if not any(aligned):
            return any(first_sides(part) for part in value) or not isinstance(value[0], Tensor)
        if isinstance(value[0], Tensor):
            if not all(aligned) or len({(part.dtype, part.dim()) for part in value}) == 1:
                self.refuse(
                    f"whether {describe(value)} holds samples or inputs cannot be told: it is as "
                    f"long as the batch, and so are its entries"
                )
            return False
        return self.refuse(f"whether {describe(value)} holds samples or inputs cannot be told")
