"""A trusted gradient that serves for several steps."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from reweight._isolation.objective import Parameters


class RenewedGradient:
    """The trusted gradient, taken anew every so many steps and averaged with those before.

    Between two renewals it is that of older parameters and of another trusted batch. Averaging
    makes up for some of the latter.

    Args:
        every: Steps that one gradient serves for, at least 1.
        averaging: Share of the older average in a new one, from 0 (none) to below 1.

    Raises:
        ValueError: If either is out of range.
    """

    def __init__(self, every: int, averaging: float) -> None:
        if not isinstance(every, int) or every < 1:
            raise ValueError(f"renew_every must be an integer >= 1, got {every!r}.")
        if not 0 <= averaging < 1:
            raise ValueError(f"averaging must be at least 0 and less than 1, got {averaging!r}.")
        self.every = every
        self.averaging = averaging
        self._forget(None)

    def _forget(self, model: nn.Module | None) -> None:
        self._model = None if model is None else weakref.ref(model)
        self._held: Parameters | None = None
        self._uses = 0

    def __getstate__(self) -> dict[str, Any]:
        """Copies and pickles start without a gradient."""
        return {"every": self.every, "averaging": self.averaging}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget(None)

    @property
    def always_fresh(self) -> bool:
        """Whether every step has just its own gradient."""
        return self.every == 1 and self.averaging == 0

    def next(
        self, model: nn.Module, names: list[str], fresh: Callable[[], Parameters], *, free: bool
    ) -> Parameters:
        """Return the gradient for the next step.

        Args:
            model: Whose gradient it is; another one starts afresh.
            names: The parameters it is of now.
            fresh: Computes it from the present trusted batch; parameters that the trusted loss
                does not depend on are left out.
            free: Whether it has been computed anyway, so that it may as well be renewed.
        """
        if self._model is None or self._model() is not model:
            self._forget(model)
        if self._held is not None and not set(names) >= self._held.keys():
            self._forget(model)  # parameters were frozen
        if self._held is None or self._uses >= self.every or free:
            self._held = self._averaged(fresh())
            self._uses = 0
        self._uses += 1
        return self._held

    def _averaged(self, new: Parameters) -> Parameters:
        old, share = self._held, self.averaging
        if old is None or share == 0:
            return new
        average = {
            name: torch.lerp(gradient, old[name], share) if name in old else (1 - share) * gradient
            for name, gradient in new.items()
        }
        average |= {name: share * gradient for name, gradient in old.items() if name not in new}
        return average
