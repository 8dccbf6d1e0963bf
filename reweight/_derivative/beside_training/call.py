"""One call of an operator, with the tangents of its inputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

Tangents = Tensor | Sequence[Tensor | None] | None
"""What a rule returns: the tangent of the one output, or of every output, each ``None`` where it
is zero, or ``None`` alone for a call that the rule does not cover."""
Rule = Callable[["Call"], Tangents]


class NotCovered(Exception):  # noqa: N818 - the operator is run again, that is all
    """A rule does not know the arguments of a call."""


@dataclass(slots=True)  # not frozen: made once an operator, that would take twice as long
class Call:
    """What a rule is told; it changes nothing of it.

    Attributes:
        operator: As ``__torch_function__`` gets it.
        args: Positional arguments. An operator that works in place has changed the first.
        kwargs: Keyword arguments.
        out: What the operator returned.
        tangents: Tangents of the inputs that have one, by ``id``. They are others' too, perhaps:
            nothing may be written into them.
    """

    operator: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    out: Any
    tangents: dict[int, Tensor]

    def tangent(self, value: Any) -> Tensor | None:
        """Return the tangent of an input, or ``None`` if it has none."""
        return self.tangents.get(id(value))

    def given(self, *names: str, **defaults: Any) -> dict[str, Any]:
        """Return all arguments by name.

        Args:
            names: Of the positional ones, in order.
            defaults: Values of those that need not be given; the others' is ``None``.

        Raises:
            NotCovered: If there are arguments of other names.
        """
        found = {**dict.fromkeys(names), **defaults}
        found.update(zip(names, self.args, strict=False))
        found.update(self.kwargs)
        if len(self.args) > len(names) or len(found) > len({*names, *defaults}):
            raise NotCovered(f"{self.operator} was given arguments of unknown names.")
        return found
