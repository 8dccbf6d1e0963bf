"""The labels and the class names that a caller gives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from reweight._step.rows import integers


def as_labels(labels: Any, trained: Tensor) -> Tensor:
    """Return the labels as int64 on the CPU.

    Args:
        labels: A tensor, an array or a list.
        trained: ``(rows,)``, those that the model was trained on; -1 where that is not known.

    Raises:
        TypeError: If they are no integers.
        ValueError: If there are not as many, or if they are others than those trained on.
    """
    found = integers("labels", labels, "id").cpu()
    if found.shape != trained.shape:
        raise ValueError(
            f"labels must be one an id, ({len(trained)},); got shape {tuple(found.shape)}."
        )
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
