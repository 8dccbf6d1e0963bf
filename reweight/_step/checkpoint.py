"""What a later step depends on, as plain containers and tensors, and how it is put back."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeGuard

VERSION = 1


class Stateful(Protocol):
    """What takes part in a checkpoint."""

    def state_dict(self) -> Any:
        """Return plain containers, numbers and tensors that describe it."""
        ...

    def load_state_dict(self, state: Any) -> Any:
        """Take what :meth:`state_dict` returned."""
        ...


def is_stateful(part: object) -> TypeGuard[Stateful]:
    """Whether ``part`` has both methods; a plain function has neither, and keeps nothing."""
    return not isinstance(part, type) and all(
        callable(getattr(part, name, None)) for name in ("state_dict", "load_state_dict")
    )


class Checkpoint:
    """The parts of a reweighter that have a state.

    Args:
        objective: The losses as a function of the parameters.
        scorers: By name; those without a state are left out.
        others: The same, for parts of which there is one each: ``"selector"``, ``"weighting"``.
    """

    def __init__(
        self, objective: Stateful, scorers: Mapping[str, object], others: Mapping[str, object]
    ) -> None:
        self._objective = objective
        self._scorers = {name: part for name, part in scorers.items() if is_stateful(part)}
        self._names = tuple(others)
        self._others = {name: part for name, part in others.items() if is_stateful(part)}

    def save(self) -> dict[str, Any]:
        """Return a dictionary that ``torch.load(weights_only=True)`` takes, if every part's is."""
        state: dict[str, Any] = {
            "version": VERSION,
            "objective": self._objective.state_dict(),
            "scorers": {name: part.state_dict() for name, part in self._scorers.items()},
        }
        for name, part in self._others.items():
            state[name] = part.state_dict()
        return state

    def load(self, state: Any, fits: Callable[[], None]) -> None:
        """Put back what :meth:`save` returned, all of it or nothing.

        Args:
            state: The dictionary.
            fits: Called when every part has its state; what it raises undoes that.

        Raises:
            TypeError: If ``state`` is no dictionary.
            ValueError: If it is of another version or of other parts. What a part raises is
                passed on.
        """
        self._check(state)
        before = copy.deepcopy(self.save())
        try:
            self._set(state)
            fits()
        except BaseException:
            self._set(before)
            raise

    def _set(self, state: Mapping[str, Any]) -> None:
        self._objective.load_state_dict(state["objective"])
        for name, part in self._scorers.items():
            part.load_state_dict(state["scorers"][name])
        for name, part in self._others.items():
            part.load_state_dict(state[name])

    def _check(self, state: Any) -> None:
        if not isinstance(state, Mapping):
            raise TypeError(
                f"state must be what MetaReweighter.state_dict() returned, a dictionary; got "
                f"{type(state).__name__}."
            )
        version = state.get("version")
        if version != VERSION:
            raise ValueError(
                f"the state is of version {version!r}, and this release reads version {VERSION}. "
                f"Load it with the release of reweight that wrote it."
                if "version" in state
                else "the state has no version: it is not what MetaReweighter.state_dict() "
                "returned. Is it the model's or the optimiser's?"
            )
        missing = {"objective", "scorers"} - state.keys()
        if missing:
            raise ValueError(
                f"the state has no {_listed(missing)}: it is not whole. Load it as "
                f"MetaReweighter.state_dict() returned it."
            )
        saved, own = set(state["scorers"]), set(self._scorers)
        if saved != own:
            raise ValueError(
                f"the state is of other scorers: it has a state for {_listed(saved)}, and this "
                f"reweighter needs one for {_listed(own)}. Build the reweighter as it was built "
                f"when the state was saved."
            )
        for name in self._names:
            if (name in state) == (name in self._others):
                continue
            raise ValueError(
                f"the state was saved with a {name} that keeps a state, and this one keeps none."
                if name in state
                else f"this {name} keeps a state, and the one the state was saved with kept none."
            )


def _listed(names: set[str]) -> str:
    return ", ".join(sorted(names)) or "none"
