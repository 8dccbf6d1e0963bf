"""One call of an operator, with the tangents of its inputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor


@dataclass(frozen=True, slots=True)
class Call:
    """What a rule is told.

    Attributes:
        operator: As ``__torch_function__`` gets it.
        args: Positional arguments. An operator that works in place has changed the first.
        kwargs: Keyword arguments.
        out: What the operator returned.
        tangents: Tangents of the inputs that have one, by ``id``.
    """

    operator: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    out: Any
    tangents: dict[int, Tensor]

    def tangent(self, value: Any) -> Tensor | None:
        """Return the tangent of an input, or ``None`` if it has none."""
        return self.tangents.get(id(value))
