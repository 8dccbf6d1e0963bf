"""The network and its optimiser, the same for every method."""

from __future__ import annotations

import torch
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR

from benchmarks.label_noise.seeding import global_seed


def build_network(height: int, width: int, classes: int, seed: int, purpose: str) -> nn.Module:
    """Return a small convolutional network with the initial weights of that seed and purpose.

    There is no batch normalisation: it would let the weight of one sample act on all others, and
    its statistics would see the samples of weight 0 too. Here a weight acts on its sample alone.

    Args:
        height: Of the images, in pixels.
        width: Of the images, in pixels.
        classes: Number of outputs.
        seed: What the initial weights depend on.
        purpose: The same.

    Returns:
        A module from ``(N, 1, height, width)`` to ``(N, classes)`` logits.
    """
    rows, columns = (-(-side // 8) for side in (height, width))  # three halvings, rounded up
    with global_seed(seed, purpose):
        return nn.Sequential(
            nn.Conv2d(1, 16, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, 32, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(32 * rows * columns, 128),
            nn.ReLU(),
            nn.Linear(128, classes),
        )


def build_optimizer(
    model: nn.Module, rate: float, momentum: float, steps: int
) -> tuple[torch.optim.SGD, CosineAnnealingLR]:
    """Return SGD without weight decay, and a schedule that takes its rate to 0 in ``steps``."""
    optimizer = torch.optim.SGD(model.parameters(), lr=rate, momentum=momentum)
    return optimizer, CosineAnnealingLR(optimizer, T_max=steps)
