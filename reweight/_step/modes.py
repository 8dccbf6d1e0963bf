"""How scoring passes are computed: compiled or not, under autocast or without."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from torch import nn

from reweight._derivative.compiled import CompiledModel

ScorePrecision = Literal["full", "training"]


@dataclass(frozen=True, eq=False)
class Modes:
    """What a reweighter was asked for, of every scoring pass.

    Attributes:
        compiled: The model's graphs; ``None``: scoring passes run eagerly.
        autocast: Whether they run under the caller's autocast; if not, without any.
    """

    compiled: CompiledModel | None = None
    autocast: bool = False

    def sentences(self) -> list[str]:
        """Say it in words."""
        return [
            "Scoring passes run under the autocast of the training pass (precision='training')."
            if self.autocast
            else "Scoring passes run without autocast (precision='full').",
            "Scoring passes run eagerly (compile=False)."
            if self.compiled is None
            else "Trusted gradient and directional derivative are compiled graphs of the model "
            f"(compile={self.compiled.backend!r}); auto is forward, and falls back to nothing.",
        ]


DEFAULT = Modes()


def modes_of(
    module: nn.Module,
    compile: bool | str,  # noqa: A002
    precision: ScorePrecision,
    methods: Sequence[str],
) -> Modes:
    """Return the modes asked for.

    Args:
        module: The model, without wrappers.
        compile: Whether by compiled graphs, or the backend that makes them.
        precision: ``"training"`` for scoring passes under the caller's autocast.
        methods: Of the scorers that differentiate.

    Raises:
        ValueError: If nothing would be compiled, or not by a method asked for.
        TypeError: If ``compile`` is neither bool nor a backend's name.
    """
    if not isinstance(compile, bool | str):
        raise TypeError(f"compile must be True, False or a backend's name, got {compile!r}.")
    autocast = precision == "training"
    if not compile:
        return Modes(autocast=autocast)
    if autocast:
        raise ValueError(
            'compile= and precision="training" do not go together: compiled graphs are compared '
            "with eager passes to the last digits, which autocast rounds away. Leave one out."
        )
    others = [method for method in methods if method not in ("auto", "forward")]
    if others or not methods:
        what = f"method={others[0]!r} is none" if others else "no scorer here takes one"
        raise ValueError(
            f"compile= compiles the trusted gradient and the directional derivative in forward "
            f'mode, and {what}: use GradientSimilarity(), by method "auto" or "forward", or leave '
            f"compile= out."
        )
    return Modes(CompiledModel(module, "inductor" if compile is True else compile))
