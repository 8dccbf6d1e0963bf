"""Predictions and accuracies."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_BATCH = 1000


class DivergedError(ArithmeticError):
    """The network's numbers are no longer finite."""


def predict(model: nn.Module, inputs: Tensor) -> Tensor:
    """Return the class of each input, ``(n,)``.

    Raises:
        DivergedError: If an output is not finite.
    """
    model.eval()
    with torch.no_grad():
        logits = torch.cat([model(part) for part in torch.split(inputs, _BATCH)])
    model.train()
    if not logits.isfinite().all():
        raise DivergedError("an output of the network is not finite")
    return logits.argmax(dim=1)


def accuracy(predicted: Tensor, labels: Tensor) -> float:
    """Return the share of predictions that are right."""
    return float((predicted == labels).double().mean())
