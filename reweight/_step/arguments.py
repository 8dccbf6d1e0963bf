"""Whether a tuple or list is a model's arguments, or one argument."""

from __future__ import annotations

import inspect
from typing import Any

from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from reweight._isolation.objective import unwrapped
from reweight._step.first_sides import first_sides

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


class Arguments:
    """Decides whether a tuple or list as input is spread over the model's positional arguments.

    In this order: a ``PackedSequence`` is one argument. What only fits the signature of
    ``forward`` one way is passed that way. A named tuple is spread if its fields have the names of
    parameters, else it is one. As many entries of one kind as there are samples, not all of which
    have the samples first, are one argument, a list of samples. Anything else is spread. What one
    batch has settled holds for later ones that are less clear.
    """

    def __init__(self) -> None:
        self._spread: bool | None = None

    def are_spread(self, model: nn.Module, value: Any, target: Any) -> bool:
        """Whether ``model(*value)`` is meant rather than ``model(value)``.

        Args:
            model: The model.
            value: A tuple or list.
            target: The batch's target, which tells how many samples there are.
        """
        if isinstance(value, PackedSequence):
            return False
        parameters = parameters_of(model)
        if parameters is None:
            return True
        positional = [p for p in parameters if p.kind in _POSITIONAL]
        required = sum(p.default is p.empty for p in positional)
        any_number = any(p.kind is p.VAR_POSITIONAL for p in parameters)
        fits_one = required <= 1 and (bool(positional) or any_number)
        fits_spread = required <= len(value) and (any_number or len(value) <= len(positional))
        if fits_one != fits_spread:
            self._spread = fits_spread
            return fits_spread
        if not fits_one:
            return True
        if hasattr(value, "_fields"):
            return set(value._fields) <= {p.name for p in positional}
        if self._spread is None:
            self._spread = _spread_by_entries(value, target)
        return self._spread is not False


def _spread_by_entries(value: Any, target: Any) -> bool | None:
    counts = first_sides(target)
    if not counts:
        return None
    if len(value) not in counts:
        return True
    if len({_kind(entry) for entry in value}) > 1:
        return True
    clear = any(not first_sides(entry) & counts for entry in value)
    return False if clear else None


def _kind(entry: Any) -> Any:
    return (type(entry), entry.dtype, entry.dim()) if isinstance(entry, Tensor) else type(entry)


def parameters_of(model: nn.Module) -> list[inspect.Parameter] | None:
    """Return the parameters of the bare model's ``forward``, or ``None`` if it does not tell."""
    try:
        return list(inspect.signature(unwrapped(model)[-1].forward).parameters.values())
    except (TypeError, ValueError):
        return None


def note(model: nn.Module, what: str) -> str:
    """Say, for an error about arguments, what was done with the input and how to do otherwise.

    Args:
        model: The model.
        what: What was spread, over which arguments.
    """
    module = unwrapped(model)[-1]
    parameters = parameters_of(model)
    shown = "..." if parameters is None else ", ".join(map(str, parameters))
    return (
        f"The batch's input, {what} arguments of {type(module).__name__}.forward({shown}). If it "
        f"is one input, or its parts belong elsewhere, pass forward= in place of loss=, such as "
        f"forward=lambda model, batch: loss(model(batch[0]), batch[1])."
    )
