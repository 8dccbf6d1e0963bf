"""Which rows of the data set a batch holds, and from which source each comes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Rows:
    """The numbers a caller gave: one a sample, ``(C,)``, or one an element of the loss map.

    Attributes:
        named: By what they are: ``"ids"``, ``"groups"``.
        wrong: What is wrong with them, to be raised when they are asked for.
    """

    named: Mapping[str, Tensor]
    wrong: Exception | None = None

    @classmethod
    def of(cls, given: Mapping[str, Any], needs: Mapping[str, int | None]) -> Rows:
        """Return what was given, as int64.

        Args:
            given: By name: a tensor, array or list of integers, or ``None``.
            needs: Which are needed, and below which number they must be.

        Raises:
            TypeError: If one is no integers.
            ValueError: If one is missing, or out of range.
        """
        for name in needs:
            if given.get(name) is None:
                raise ValueError(
                    f"what this reweighter remembers is by {name}: call it with {name}=, one "
                    f"integer a sample"
                    + (
                        ", its place in the data set. Have the data set return it, as in "
                        "return image, label, index."
                        if name == "ids"
                        else ", the number of its source."
                    )
                )
        found = {name: integers(name, value) for name, value in given.items() if value is not None}
        for name, values in found.items():
            _check_range(name, values, needs.get(name))
        return cls(found)

    @classmethod
    def or_wrong(cls, given: Mapping[str, Any], needs: Mapping[str, int | None]) -> Rows:
        """Return the same, or what raises when asked, which is where the other ranks wait."""
        try:
            return cls.of(given, needs)
        except (TypeError, ValueError) as error:
            return cls({}, error)

    def kept(self, kept: Tensor | None) -> Rows:
        """Return those of the samples that ``kept``, ``(C,)`` bool, marks; ``None``: all."""
        if kept is None:
            return self
        for name, values in self.named.items():
            _check_count(name, values, (kept.numel(),))
        return Rows({name: values[kept.to(values.device)] for name, values in self.named.items()})

    def like(self, name: str, losses: Tensor) -> Tensor | None:
        """Return the numbers of that name in the shape of ``losses``, ``None`` if not given.

        Raises:
            ValueError: If there are not as many as samples, or as elements.
        """
        if self.wrong is not None:
            raise self.wrong
        values = self.named.get(name)
        if values is None:
            return None
        _check_count(name, values, losses.shape)
        values = values.to(losses.device, non_blocking=True)
        return values.reshape(*values.shape, *[1] * (losses.dim() - values.dim())).expand_as(losses)


def needs_of_all(parts: Iterable[Any]) -> dict[str, int | None]:
    """Return what ``parts``, each with ``needs``, have to be told of each sample.

    Raises:
        ValueError: If two know different numbers of the same.
    """
    found: dict[str, tuple[int | None, Any]] = {}
    for part in parts:
        for name, count in part.needs.items():
            known, whose = found.get(name, (None, part))
            if known is not None and count is not None and known != count:
                raise ValueError(
                    f"all that remembers must speak of the same {name}: {whose!r} knows {known} "
                    f"of them, another {count}: {part!r}."
                )
            found[name] = (count, part) if known is None else (known, whose)
    return {name: count for name, (count, _) in found.items()}


def integers(name: str, value: Any, each: str = "sample") -> Tensor:
    """Return ``value`` as int64: a tensor where it is, anything else on the CPU.

    Args:
        name: Of what is given, for messages.
        value: A tensor, an array or a list of integers.
        each: What one of them is of, for messages.

    Raises:
        TypeError: If it is no integers.
        ValueError: If it is a single number.
    """
    of = "an" if each[0] in "aeiou" else "a"
    try:
        # Of another shape of the world, a list or array: on the CPU, where a loader leaves it.
        values = (
            value.detach() if isinstance(value, Tensor) else torch.as_tensor(value, device="cpu")
        )
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(
            f"{name} must be integers, one {of} {each}: a tensor, an array or a list; got "
            f"{type(value).__name__}."
        ) from error
    if values.is_floating_point() or values.is_complex() or values.dtype == torch.bool:
        raise TypeError(f"{name} must be integers, one {of} {each}; got {values.dtype}.")
    if values.dim() == 0:
        raise ValueError(f"{name} must be one integer {of} {each}, (C,); got a single number.")
    return values.long()


def _check_range(name: str, values: Tensor, count: int | None) -> None:
    if values.numel() == 0:
        return
    smallest, largest = (int(value) for value in torch.aminmax(values))
    if smallest < 0:
        raise ValueError(f"{name} must be integers >= 0; the smallest is {smallest}.")
    if count is not None and largest >= count:
        raise ValueError(
            f"{name} must be below {count}, the number remembered here; the largest is {largest}. "
            f"Count them from 0, and build what remembers with as many as there are."
        )


def _check_count(name: str, values: Tensor, shape: tuple[int, ...]) -> None:
    if values.shape != shape[: values.dim()]:
        raise ValueError(
            f"{name} must be one integer a sample, ({shape[0]},)"
            + (f", or one an element, {tuple(shape)}" if len(shape) > 1 else "")
            + f"; got shape {tuple(values.shape)}."
        )
