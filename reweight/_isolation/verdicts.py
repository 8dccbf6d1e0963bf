"""What has been found out about a model, and holds from one step to the next."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

CHECKED_STEPS = 2
"""First steps of a model, in each of the situations it is seen in, that are checked."""


@dataclass
class Verdicts:
    """What a later step depends on, besides parameters.

    Attributes:
        can_be_followed: Whether tangents may be computed beside the training pass; false from the
            first pass on in which they could not.
        autocast_inside: Whether autocast was seen to be entered inside the model.
        needs_compiler: Whether the model does not run where everything is to run eagerly.
        hooks_change: Whether a gradient hook was seen to change a gradient.
        reentrant: Whether a reentrant checkpoint was seen in a graph.
        way: The exact way that derivatives are taken by; empty for the cheapest.
        reason: Why it is not the cheapest.
        not_followed: Why tangents could not be computed beside the training pass.
        checked: How often each situation has been checked.
    """

    can_be_followed: bool = True
    autocast_inside: bool = False
    needs_compiler: bool = False
    hooks_change: bool = False
    reentrant: bool = False
    way: str = ""
    reason: str = ""
    not_followed: str = ""
    checked: dict[str, int] = field(default_factory=dict)

    def due(self, situation: Iterable[str]) -> bool:
        """Return whether ``situation`` is still to be checked, and count it."""
        key = "|".join(situation)
        done = self.checked.get(key, 0)
        if done < CHECKED_STEPS:
            self.checked[key] = done + 1
        return done < CHECKED_STEPS

    def state_dict(self) -> dict[str, Any]:
        """Return all of it, as plain values."""
        return asdict(self)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what :meth:`state_dict` returned.

        Raises:
            ValueError: If it holds other names.
        """
        names = {own.name for own in fields(self)}
        if state.keys() != names:
            raise ValueError(
                f"the state of the objective must hold {', '.join(sorted(names))}; got "
                f"{', '.join(sorted(map(str, state)))}."
            )
        for name, value in state.items():
            setattr(self, name, dict(value) if isinstance(value, dict) else value)
