"""What has been found out about a model, and holds from one step to the next."""

from __future__ import annotations

import copy
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
        reentrant_inside: Whether a part of it was seen to be checkpointed the reentrant way, in
            which nothing can be watched.
        compiled_inside: Whether a compiled function that is no module was seen in a graph.
        needs_compiler: Whether the model does not run where everything is to run eagerly.
        hooks_change: Whether a gradient hook was seen to change a gradient.
        way: The exact way that derivatives are taken by; empty for the cheapest.
        reason: Why it is not the cheapest.
        not_followed: Why tangents could not be computed beside the training pass.
        checked: How often each situation has been checked.
        turns: In how many training steps there was a way to be chosen.
        timings: Seconds of those steps, by the way that each took.
        chosen: The way that was found to be the cheapest; empty until then.
        refused: Ways that are not to be chosen, and why.
        operators: Names of the operators that double backward has proved itself with.
        parted_by_short_products: Whether TF32 was seen to be why derivatives do not quite add up.
    """

    can_be_followed: bool = True
    autocast_inside: bool = False
    reentrant_inside: bool = False
    compiled_inside: bool = False
    needs_compiler: bool = False
    hooks_change: bool = False
    way: str = ""
    reason: str = ""
    not_followed: str = ""
    checked: dict[str, int] = field(default_factory=dict)
    turns: int = 0
    timings: dict[str, list[float]] = field(default_factory=dict)
    chosen: str = ""
    refused: dict[str, str] = field(default_factory=dict)
    operators: list[str] = field(default_factory=list)
    parted_by_short_products: bool = False

    @property
    def scores_apart(self) -> bool:
        """Whether scores cannot be taken from the training pass."""
        return self.autocast_inside or self.reentrant_inside or self.compiled_inside

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
            setattr(self, name, copy.deepcopy(value))
