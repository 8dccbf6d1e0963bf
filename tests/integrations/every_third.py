"""Steps without a kept sample between others."""

from __future__ import annotations

import torch
from torch import Tensor


class EveryThird:
    """A selector that keeps nothing in two batches of three."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, weights: Tensor) -> Tensor:
        self.calls += 1
        return weights if self.calls % 3 == 0 else torch.zeros_like(weights)
