"""Predictions of a network."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_BATCH = 1000


class DivergedError(ArithmeticError):
    """The network's numbers are no longer finite."""


def logits_of(model: nn.Module, inputs: Tensor) -> Tensor:
    """Return the network's output for each input, ``(n, classes)``.

    Raises:
        DivergedError: If an output is not finite.
    """
    model.eval()
    with torch.no_grad():
        logits = torch.cat([model(part) for part in torch.split(inputs, _BATCH)])
    model.train()
    if not logits.isfinite().all():
        raise DivergedError("an output of the network is not finite")
    return logits


def predict(model: nn.Module, inputs: Tensor) -> Tensor:
    """Return the class of each input, ``(n,)``.

    Raises:
        DivergedError: If an output is not finite.
    """
    return logits_of(model, inputs).argmax(dim=1)
