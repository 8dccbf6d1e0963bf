"""Whether the arguments of a reweighter are such as can be used."""

from __future__ import annotations

from typing import Any, get_args

from torch import nn

from reweight._step.batches import Forward, Loss, SupervisedForward
from reweight._step.losses import check_reduction


def check_model(model: object) -> None:
    """Raise a ``TypeError`` unless ``model`` is a module."""
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, got {type(model).__name__}.")


def forward_of(loss: Loss | None, forward: Forward | None) -> Forward:
    """Return ``(model, batch) -> losses``, of a loss or as it was given.

    Raises:
        TypeError: If the loss cannot be called.
        ValueError: If not exactly one is given, or the loss reduces over the batch.
    """
    if (loss is None) == (forward is None):
        raise ValueError(
            "give exactly one of loss (for batches (input, target)) and forward (a function "
            "(model, batch) -> losses)."
        )
    if loss is None:
        assert forward is not None
        return forward
    if not callable(loss) or isinstance(loss, type):
        raise TypeError(
            f"loss must be a function (output, target) -> losses, or an instance such as "
            f'nn.CrossEntropyLoss(reduction="none"); got {loss!r}.'
        )
    check_reduction(loss)
    return SupervisedForward(loss)


def check_choice(name: str, value: object, choices: Any) -> None:
    """Raise a ``ValueError`` unless ``value`` is one of a ``Literal``'s."""
    if value not in get_args(choices):
        raise ValueError(f"{name} must be one of {get_args(choices)}, got {value!r}.")


def check_function(name: str, value: object, wanted: str) -> None:
    """Raise a ``TypeError`` unless ``value`` can be called; a class cannot."""
    if not callable(value) or isinstance(value, type):
        raise TypeError(f"{name} must be a function {wanted}; got {value!r}.")
