"""What is known of the tensors of a pass, for as long as they live."""

from __future__ import annotations

import weakref
from collections.abc import Callable

from torch import Tensor
from torch.autograd.graph import Node

from reweight._torch_internals import version


class Entry(weakref.ref[Tensor]):
    """A tensor, as it was when it was noted, and its tangent.

    Attributes:
        key: Its ``id``.
        version: Its version.
        node: Its node in the graph.
        tangent: Its tangent, ``None`` where none reaches it.
    """

    __slots__ = ("key", "node", "tangent", "version")
    key: int
    version: int
    node: Node | None
    tangent: Tensor | None


class Known(dict[int, Entry]):
    """Entries by the ``id`` of their tensors, each gone when its tensor goes.

    PyTorch's own dictionary of this kind makes a reference for every question; asked of every
    input of every operator, that is what a small network's pass takes the time for.
    """

    __slots__ = ("__weakref__", "_forget")

    def __init__(self) -> None:
        super().__init__()
        # By a weak reference: entries hold this function, and this holds entries.
        self._forget = _forgetting(weakref.ref(self))

    def note(self, x: Tensor, node: Node | None, tangent: Tensor | None) -> None:
        """Remember ``x`` as it is now."""
        entry = Entry(x, self._forget)
        entry.key, entry.version, entry.node, entry.tangent = id(x), version(x), node, tangent
        self[entry.key] = entry

    def of(self, x: Tensor) -> Entry | None:
        """Return what was noted of ``x``, if anything was."""
        entry = self.get(id(x))
        return entry if entry is not None and entry() is x else None


def _forgetting(known: weakref.ref[Known]) -> Callable[[weakref.ref[Tensor]], None]:
    def forget(entry: weakref.ref[Tensor]) -> None:
        entries = known()
        assert isinstance(entry, Entry)
        if entries is not None and entries.get(entry.key) is entry:
            del entries[entry.key]

    return forget
