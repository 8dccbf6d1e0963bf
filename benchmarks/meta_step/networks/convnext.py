"""ConvNeXt (Liu et al. 2022), small."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

_SCALE = 1e-6
_EPS = 1e-6


class ChannelsFirstNorm(nn.Module):
    """Layer normalisation over the channels of (C, channels, H, W), at each place."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    @override
    def forward(self, images: Tensor) -> Tensor:
        """Keep the shape."""
        last = images.permute(0, 2, 3, 1)
        last = F.layer_norm(last, self.weight.shape, self.weight, self.bias, _EPS)
        return last.permute(0, 3, 1, 2)


class Block(nn.Module):
    """A depthwise convolution of 7 × 7 and a pointwise hidden layer, scaled layer by layer."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
        self.norm = nn.LayerNorm(channels, eps=_EPS)
        self.widen = nn.Linear(channels, 4 * channels)
        self.narrow = nn.Linear(4 * channels, channels)
        self.scale = nn.Parameter(torch.full((channels,), _SCALE))

    @override
    def forward(self, images: Tensor) -> Tensor:
        """Keep the shape, (C, channels, H, W)."""
        places = self.norm(self.depthwise(images).permute(0, 2, 3, 1))
        mapped = self.scale * self.narrow(F.gelu(self.widen(places)))
        added: Tensor = images + mapped.permute(0, 3, 1, 2)
        return added


class ConvNeXt(nn.Module):
    """A stem of 4 × 4 patches, and a level for each number of channels, halving the sides.

    Args:
        classes: Number of classes.
        channels: Of each level.
        depths: Blocks of each level.
    """

    def __init__(
        self,
        classes: int,
        channels: Sequence[int] = (24, 48, 96, 192),
        depths: Sequence[int] = (1, 1, 3, 1),
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = [
            nn.Conv2d(3, channels[0], 4, stride=4),
            ChannelsFirstNorm(channels[0]),
        ]
        for level, depth in enumerate(depths):
            if level:
                before, after = channels[level - 1 : level + 1]
                layers += [ChannelsFirstNorm(before), nn.Conv2d(before, after, 2, stride=2)]
            layers += [Block(channels[level]) for _ in range(depth)]
        self.features = nn.Sequential(*layers)
        self.norm = nn.LayerNorm(channels[-1], eps=_EPS)
        self.head = nn.Linear(channels[-1], classes)

    @override
    def forward(self, images: Tensor) -> Tensor:
        """Map (C, 3, H, W) images, sides multiples of 32, to (C, classes) logits."""
        logits: Tensor = self.head(self.norm(self.features(images).mean((2, 3))))
        return logits
