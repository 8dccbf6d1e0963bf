"""Plain attributes of modules, which a forward pass may set."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def attributes_restored(module: nn.Module) -> Iterator[None]:
    """Put back, after the body, every plain attribute and buffer slot of ``module`` and its parts.

    Forward passes may count, cache or (``weight_norm``, as a hook) compute weights into
    attributes. What they change in place, inside a list of their own, say, is not seen.
    """
    slots = [slot for part in module.modules() for slot in (part.__dict__, part._buffers)]
    before = [dict(slot) for slot in slots]
    try:
        yield
    finally:
        for slot, values in zip(slots, before, strict=True):
            if len(slot) != len(values) or any(
                slot.get(name) is not value for name, value in values.items()
            ):
                slot.clear()
                slot.update(values)
