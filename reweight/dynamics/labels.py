"""The labels and the class names that a caller gives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def as_labels(labels: Any, trained: Tensor) -> Tensor:
    """Return the labels as int64 on the CPU.

    Args:
        labels: A tensor, an array or a list.
        trained: ``(rows,)``, those that the model was trained on; -1 where that is not known.

    Raises:
        TypeError: If they are no integers.
        ValueError: If there are not as many, or if they are others than those trained on.
    """
    try:
        found = torch.as_tensor(labels).detach().cpu()
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(
            f"labels must be integers, one an id: a tensor, an array or a list; got "
            f"{type(labels).__name__}."
        ) from error
    if found.is_floating_point() or found.is_complex() or found.dtype == torch.bool:
        raise TypeError(f"labels must be integers, one an id; got {found.dtype}.")
    if found.shape != trained.shape:
        raise ValueError(
            f"labels must be one an id, ({len(trained)},); got shape {tuple(found.shape)}."
        )
    found = found.long()
    differ = (found != trained) & (trained >= 0)
    if differ.any():
        first = int(differ.nonzero()[0])
        raise ValueError(
            f"labels differ from those that the model was trained on for {int(differ.sum())} ids; "
            f"the first is id {first}: {int(found[first])} here, {int(trained[first])} in "
            f"training. What was learnt speaks of the labels trained on: pass those, or none, and "
            f"see that ids= are places in the same order."
        )
    return found


def check_names(names: Sequence[str], *labels: Tensor) -> None:
    """Raise a ``ValueError`` if a class has no name."""
    largest = max((int(values.max()) for values in labels if values.numel()), default=-1)
    if largest >= len(names):
        raise ValueError(
            f"class_names must be one a class; there are {len(names)}, and class {largest}."
        )
