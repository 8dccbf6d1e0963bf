"""What is known of a call of an operator before it runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from reweight._derivative.beside_training.call import Call, Rule
from reweight._derivative.beside_training.operators import Operator
from reweight._derivative.beside_training.rerun import Rerun


@dataclass(slots=True)
class Seen:
    """A call of an operator, as it was before it ran.

    Attributes:
        operator: What is known of the operator.
        func: The operator.
        args: Its positional arguments.
        kwargs: Its keyword arguments.
        inputs: Those that require a gradient.
        versions: Their versions.
        tangents: Tangents of theirs by ``id``.
        in_place: Whether it works in place, called so.
        rule: What computes its tangents, if anything does.
        rerun: What computes them otherwise, or where the rule finds out that it cannot.
        unknown: Why an input is not known; its results must be constants then.
    """

    operator: Operator
    func: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    inputs: list[Tensor]
    versions: list[int]
    tangents: dict[int, Tensor]
    in_place: bool
    rule: Rule | None = None
    rerun: Rerun | None = None
    unknown: str = ""

    def returned(self, out: Any) -> Call:
        """Return what a rule is told, once ``out`` is known."""
        return Call(self.func, self.args, self.kwargs, out, self.tangents)

    def to_rerun(self, devices: Sequence[torch.device]) -> Rerun:
        """Return the call, to be run once more in forward mode."""
        return Rerun(
            self.func,
            self.args,
            self.kwargs,
            self.tangents,
            devices,
            draws=self.operator.draws,
            in_place=self.in_place,
        )
