"""Whether a module returns what its criterion takes, found out before anything is learnt."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


def check_outputs(module: nn.Module, criterion: Any, x: Tensor, num_classes: int) -> None:
    """Look at what the module returns for a few rows.

    Raises:
        ValueError: If it is not one logit a class.
    """
    module.eval()
    with torch.no_grad():
        outputs = module(x)
    shape = tuple(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
    if shape != (len(x), num_classes):
        raise ValueError(
            f"the module must return one logit a class, ({len(x)}, {num_classes}) for {len(x)} "
            f"rows; it returned {shape}."
        )
    sums = outputs.double().sum(dim=1)
    probabilities = bool((outputs >= 0).all()) and torch.allclose(sums, torch.ones_like(sums))
    if probabilities and isinstance(criterion, (nn.CrossEntropyLoss, nn.NLLLoss)):
        raise ValueError(
            f"the module returns probabilities, and {type(criterion).__name__} takes them for "
            f"something else. Leave its softmax out, and use criterion=nn.CrossEntropyLoss, which "
            f"takes logits."
        )
    if isinstance(criterion, nn.NLLLoss):
        total = outputs.double().exp().sum(dim=1)
        if not torch.allclose(total, torch.ones_like(total), atol=1e-3):
            raise ValueError(
                "NLLLoss takes the logarithms of probabilities, and those that the module returns "
                "do not sum to 1. Use criterion=nn.CrossEntropyLoss for logits."
            )
