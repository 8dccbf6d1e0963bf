"""The networks and their optimisers, the same for every row."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import CosineAnnealingLR
from typing_extensions import override

from benchmarks.seeding import global_seed

_MOMENTUM = 0.9


def build_network(
    height: int, width: int, classes: int, seed: int, purpose: str, channels: int = 1
) -> nn.Module:
    """Return a small convolutional network with the initial weights of that seed and purpose.

    There is no batch normalisation: it would let the weight of one sample act on all others, and
    its statistics would see the samples of weight 0 too. Here a weight acts on its sample alone.

    Args:
        height: Of the images, in pixels.
        width: Of the images, in pixels.
        classes: Number of outputs.
        seed: What the initial weights depend on.
        purpose: The same.
        channels: Of the images; a network for colours is twice as wide in its last convolution.

    Returns:
        A module from ``(N, channels, height, width)`` to ``(N, classes)`` logits.
    """
    rows, columns = (-(-side // 8) for side in (height, width))  # three halvings, rounded up
    last = 32 if channels == 1 else 64
    with global_seed(seed, purpose):
        return nn.Sequential(
            nn.Conv2d(channels, 16, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, last, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(last * rows * columns, 128),
            nn.ReLU(),
            nn.Linear(128, classes),
        )


def build_text_network(features: int, classes: int, seed: int, purpose: str) -> nn.Module:
    """Return two layers, from ``(N, features)`` to ``(N, classes)`` logits."""
    with global_seed(seed, purpose):
        return nn.Sequential(nn.Linear(features, 64), nn.ReLU(), nn.Linear(64, classes))


class BagNetwork(nn.Module):
    """The sum of what stands for each feature, and two layers on top.

    Args:
        features: How many features there are; 0 stands for none.
        classes: Number of outputs.
    """

    def __init__(self, features: int, classes: int, width: int = 32) -> None:
        super().__init__()
        self.features = nn.Embedding(features, width)
        nn.init.normal_(self.features.weight, std=0.1)
        self.layers = nn.Sequential(nn.ReLU(), nn.Linear(width, 64), nn.ReLU())
        self.last = nn.Linear(64, classes)

    @override
    def forward(self, present: Tensor) -> Tensor:
        """Return logits, ``(N, classes)``, of the numbers of features that are present."""
        return self.last(self.layers(self.features(present).sum(dim=1)))  # type: ignore[no-any-return]


def build_bag_network(features: int, classes: int, seed: int, purpose: str) -> nn.Module:
    """Return a network on sets of features with the initial weights of that seed and purpose."""
    with global_seed(seed, purpose):
        return BagNetwork(features, classes)


def build_optimizer(
    model: nn.Module, kind: Literal["sgd", "adam"], rate: float, steps: int
) -> tuple[torch.optim.Optimizer, CosineAnnealingLR]:
    """Return SGD with momentum or Adam, without weight decay, and a cosine to 0 in ``steps``."""
    optimizer: torch.optim.Optimizer
    if kind == "adam":
        optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    else:
        optimizer = torch.optim.SGD(model.parameters(), lr=rate, momentum=_MOMENTUM)
    return optimizer, CosineAnnealingLR(optimizer, T_max=steps)
