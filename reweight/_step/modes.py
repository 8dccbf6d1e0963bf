"""How scoring passes are computed: compiled or not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from reweight._derivative.compiled import CompiledModel


@dataclass(frozen=True, eq=False)
class Modes:
    """What a reweighter was asked for, of every scoring pass.

    Attributes:
        compiled: The model's graphs; ``None``: scoring passes run eagerly.
    """

    compiled: CompiledModel | None = None

    def sentences(self) -> list[str]:
        """Say it in words."""
        if self.compiled is None:
            return ["Scoring passes run eagerly (compile=False)."]
        return [
            f"Trusted gradient and directional derivative are compiled graphs of the model "
            f"(compile={self.compiled.backend!r}); auto is forward, and falls back to nothing."
        ]


DEFAULT = Modes()


def modes_of(
    module: nn.Module,
    compile: bool | str,  # noqa: A002
    methods: Sequence[str],
) -> Modes:
    """Return the modes asked for.

    Args:
        module: The model, without wrappers.
        compile: Whether by compiled graphs, or the backend that makes them.
        methods: Of the scorers that differentiate.

    Raises:
        ValueError: If nothing would be compiled, or not by a method asked for.
        TypeError: If ``compile`` is neither bool nor a backend's name.
    """
    if not isinstance(compile, bool | str):
        raise TypeError(f"compile must be True, False or a backend's name, got {compile!r}.")
    if not compile:
        return Modes()
    others = [method for method in methods if method not in ("auto", "forward")]
    if others or not methods:
        what = f"method={others[0]!r} is none" if others else "no scorer here takes one"
        raise ValueError(
            f"compile= compiles the trusted gradient and the directional derivative in forward "
            f'mode, and {what}: use GradientSimilarity(), by method "auto" or "forward", or leave '
            f"compile= out."
        )
    return Modes(CompiledModel(module, "inductor" if compile is True else compile))
