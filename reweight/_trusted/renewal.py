"""A trusted gradient that serves for several steps."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

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
        self._unbound = False

    def __getstate__(self) -> dict[str, Any]:
        """Copies and pickles start without a gradient."""
        return {"every": self.every, "averaging": self.averaging}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget(None)

    def state_dict(self) -> dict[str, Any]:
        """Return the held gradient by parameter name, or ``None``, and how often it has served."""
        return {"gradient": None if self._held is None else dict(self._held), "uses": self._uses}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what :meth:`state_dict` returned, for the model bound or met next.

        Raises:
            ValueError: If ``state`` is not of that form.
        """
        gradient, uses = state.get("gradient"), state.get("uses")
        whole = gradient is None or (
            isinstance(gradient, Mapping) and all(isinstance(g, Tensor) for g in gradient.values())
        )
        if not whole or not isinstance(uses, int) or uses < 0:
            raise ValueError(
                "the state of a held trusted gradient must be a dictionary: 'gradient', tensors by "
                "parameter name or None, and 'uses', an integer >= 0."
            )
        self._forget(None)
        self._held = None if gradient is None else dict(gradient)
        self._uses = uses
        self._unbound = True

    def bind(self, model: nn.Module) -> None:
        """Take ``model`` for the one that a gradient just loaded is of; nothing else changes it.

        Raises:
            ValueError: If its parameters have other names or shapes.
        """
        if not self._unbound:
            return
        held = self._held or {}
        parameters = dict(model.named_parameters())
        shapes = {name: p.shape for name, p in parameters.items()}
        other = [name for name, gradient in held.items() if shapes.get(name) != gradient.shape]
        if other:
            raise ValueError(
                f"the trusted gradient held in the state is of another model: this one has no "
                f"parameter(s) {', '.join(other[:8])} of such shapes. Load the state into a "
                f"reweighter around a model that is built as it was."
            )
        if self._held is not None:
            self._held = {name: g.to(parameters[name].device) for name, g in held.items()}
        self._model = weakref.ref(model)
        self._unbound = False

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
        self.bind(model)
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
