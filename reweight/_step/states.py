"""What scorers and selectors carry from one step to the next."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from reweight._isolation.batches import fresh
from reweight._step.checkpoint import is_stateful


class States:
    """The states of some parts, as they stand now, to be put back if a step comes to nothing.

    Args:
        parts: Scorers, selectors. Those with ``state_dict()`` and ``load_state_dict()`` have a
            state; so may the plain function in a scorer that was made of one.
        copied: Whether states are copied. Those of the library's own need not be: what they hold
            they replace, and write into none of it.
    """

    def __init__(self, parts: Iterable[Any], *, copied: bool = True) -> None:
        owners: dict[int, Any] = {}
        for part in parts:
            for owner in (part, getattr(part, "_function", None)):
                if is_stateful(owner):
                    owners[id(owner)] = owner
                    break
        found = [(owner, owner.state_dict()) for owner in owners.values()]
        self._held = [(owner, fresh(state)) for owner, state in found] if copied else found

    def restore(self) -> None:
        """Put every state back."""
        for owner, state in self._held:
            owner.load_state_dict(fresh(state))
