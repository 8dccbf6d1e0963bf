"""A trusted gradient that serves for several steps, as long as it holds."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn

from reweight._dtypes import at_least_float32, widest
from reweight._isolation.objective import Objective, Parameters
from reweight.errors import check_whole

Ask = Callable[[Tensor, Callable[[float], None]], None]

AGREEMENT = 0.95
"""Cosine from which on a gradient counts as unchanged (``benchmarks.fast_mode``).

At 0.9 training came out 3 points worse where one trusted batch is all there is, and at 0.7 8 points
worse where batches vary.
"""


class RenewedGradient:
    """The trusted gradient, kept while it changes little, and averaged with those before.

    One that is kept is that of older parameters and of another trusted batch. What is more, steps
    that follow it are what turns the next one away from it: where it turns fast, weights by an
    old one end in no training at all. So it serves for one step at first. A renewal that finds it
    unchanged lets the next serve for twice as many, and one that finds it changed for one again.

    Args:
        every: Steps that one gradient serves for at most, at least 1.
        averaging: Share of the older average in a new one, from 0 (none) to below 1.

    Raises:
        ValueError: If either is out of range.
    """

    def __init__(self, every: int, averaging: float) -> None:
        check_whole("renew_every", every)
        if not 0 <= averaging < 1:
            raise ValueError(f"averaging must be at least 0 and less than 1, got {averaging!r}.")
        self.every = every
        self.averaging = averaging
        self._forget(None)

    def _forget(self, model: nn.Module | None) -> None:
        self._model = None if model is None else weakref.ref(model)
        self._held: Parameters | None = None
        self._uses = 0
        self._period = 1
        self._unbound = False
        self._in_doubt = False  # computed, and not known yet to be finite

    def __getstate__(self) -> dict[str, Any]:
        """Copies and pickles start without a gradient."""
        return {"every": self.every, "averaging": self.averaging}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget(None)

    def state_dict(self) -> dict[str, Any]:
        """Return the held gradient by parameter name, or ``None``, its uses and how many it has."""
        return {
            "gradient": None if self._held is None or self._in_doubt else dict(self._held),
            "uses": self._uses,
            "period": self._period,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what :meth:`state_dict` returned, of the model then bound.

        Raises:
            ValueError: If ``state`` is not of that form.
        """
        gradient = state.get("gradient")
        uses, period = state.get("uses"), state.get("period")
        whole = gradient is None or (
            isinstance(gradient, Mapping) and all(isinstance(g, Tensor) for g in gradient.values())
        )
        if not whole or not _whole_number(uses, 0) or not _whole_number(period, 1):
            raise ValueError(
                "the state of a held trusted gradient must be a dictionary: 'gradient', tensors by "
                "parameter name or None, 'uses', an integer >= 0, and 'period', one >= 1."
            )
        self._forget(None)
        self._held = None if gradient is None else dict(gradient)
        self._uses, self._period = uses, min(period, self.every)
        self._unbound = True

    def bind(self, objective: Objective) -> None:
        """Take a gradient just loaded for one of ``objective``; nothing else is changed by it.

        Raises:
            ValueError: If the parameters there have other names or shapes.
        """
        if not self._unbound:
            return
        held = self._held or {}
        parameters = dict(objective.named_parameters())
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
        self._model = weakref.ref(objective.module)
        self._unbound = False

    @property
    def always_fresh(self) -> bool:
        """Whether every step has just its own gradient."""
        return self.every == 1 and self.averaging == 0

    def next(
        self,
        model: nn.Module,
        names: list[str],
        fresh: Callable[[], Parameters],
        ask: Ask | None = None,
        *,
        free: bool,
    ) -> Parameters:
        """Return the gradient for the next step.

        Args:
            model: Whose gradient it is; another one starts afresh.
            names: The parameters it is of now.
            fresh: Computes it from the present trusted batch; parameters that the trusted loss
                does not depend on are left out.
            ask: Calls a function with the value of a scalar, later in this step; ``None``: now.
            free: Whether it has been computed anyway, so that it may as well be renewed.
        """
        if self._in_doubt or self._model is None or self._model() is not model:
            self._forget(model)
        if self._held is not None and not set(names) >= self._held.keys():
            self._forget(model)  # parameters were frozen
        if self._held is None or self._uses >= self._period or free:
            new = fresh()
            compared = self._held is not None and self.every > 1 and not free
            before = self._held if self._held is not None and compared else new
            self._held = self._averaged(new)
            self._uses = 0
            self._in_doubt = True
            cosine, then = _cosine(new, before), partial(self._renewed, compared=compared)
            if ask is None:
                then(float(cosine))
            else:
                ask(cosine, then)
        self._uses += 1
        return self._held

    def _renewed(self, cosine: float, *, compared: bool) -> None:
        """Hold the new gradient; if it was compared with the old one, for as long as that says."""
        self._in_doubt = False
        if compared:
            self._period = min(2 * self._period, self.every) if cosine >= AGREEMENT else 1

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


def _cosine(a: Parameters, b: Parameters) -> Tensor:
    """Return the cosine of the angle between two gradients; NaN where one of them is zero."""
    products = [(g, b[name]) for name, g in a.items() if name in b]
    lengths = [[(g, g) for g in gradients.values()] for gradients in (a, b)]
    inner, first, second = (_sum_of_products(pairs) for pairs in (products, *lengths))
    return inner / (first.sqrt() * second.sqrt())


def _sum_of_products(pairs: Iterable[tuple[Tensor, Tensor]]) -> Tensor:
    found = [
        torch.linalg.vecdot(*(at_least_float32(t).flatten() for t in pair)).real for pair in pairs
    ]
    if not found:
        return torch.zeros((), device="cpu")
    wide = widest(found[0].device)
    return torch.stack([value.to(found[0].device, wide) for value in found]).sum()


def _whole_number(value: object, least: int) -> TypeGuard[int]:
    return isinstance(value, int) and value >= least
