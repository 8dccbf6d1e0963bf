"""Hooks that see, and may change, a gradient on its way.

A hook on a parameter, a module or an activation makes what a backward pass gives something else
than the derivative that forward mode computes. So a scoring pass runs the hooks, and notes whether
one of them changed anything.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from reweight._isolation.verdicts import Verdicts
from reweight._torch_internals import backward_hooks_of_all_modules, gradient_hooks, version


class GradientHooks:
    """The gradient hooks of one model.

    Args:
        verdicts: Where it is noted that one of them changed a gradient.

    Attributes:
        on_activations: Whether a forward pass was seen to ask for the gradient of an activation.
        looked_in: The modes (train, eval) in which a forward pass was made to see that.
    """

    def __init__(self, verdicts: Verdicts) -> None:
        self._verdicts = verdicts
        self.on_activations = False
        self.looked_in: set[str] = set()

    @property
    def change(self) -> bool:
        """Whether a hook was seen to change a gradient, or cannot be watched."""
        return self._verdicts.hooks_change or backward_hooks_of_all_modules()

    def watched(self, hook: Callable[..., Any]) -> Callable[..., Any]:
        """Return ``hook`` such that a change it makes is noted."""

        def run(*args: Any, **kwargs: Any) -> Any:
            given = [x for x in _flat(args) if isinstance(x, Tensor)]
            versions = [version(x) for x in given]
            result = hook(*args, **kwargs)
            same = {id(x) for x in given}
            if any(id(x) not in same for x in _flat(result) if x is not None):
                self._verdicts.hooks_change = True
            if any(version(x) != before for x, before in zip(given, versions, strict=True)):
                self._verdicts.hooks_change = True
            return result

        return run

    def applied(self, parameter: Tensor, gradient: Tensor) -> Tensor:
        """Return what the hooks of ``parameter`` make of its ``gradient``."""
        for hook in list(gradient_hooks(parameter).values()):
            if "register_multi_grad_hook" in getattr(hook, "__qualname__", ""):
                continue  # it changes nothing, and asks which backward pass it is called in
            result = self.watched(hook)(gradient)
            gradient = gradient if result is None else result
        return gradient


def _flat(value: Any) -> list[Any]:
    if isinstance(value, tuple | list):
        return [inner for part in value for inner in _flat(part)]
    return [value]
