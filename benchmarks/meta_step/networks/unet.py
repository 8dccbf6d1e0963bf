"""The residual 3D U-Net of the paper's Table 1 as MONAI has it, with either normalisation.

With batch normalisation it is what is measured where MONAI is not installed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from typing_extensions import override

TABLE_1 = (16, 32, 64, 128, 256)

Norm = Callable[[int], nn.Module]


def batch_norm(channels: int) -> nn.Module:
    """Return batch normalisation without scales and shifts."""
    return nn.BatchNorm3d(channels, affine=False)


def group_norm(channels: int) -> nn.Module:
    """Return group normalisation (Wu & He 2018) in up to 8 groups, with scales and shifts."""
    return nn.GroupNorm(min(8, channels), channels)


class Residual(nn.Module):
    """Convolutions, each with its normalisation and PReLU, and a shortcut beside them.

    Args:
        before: Input channels.
        after: Output channels.
        stride: Of the first convolution.
        convolutions: How many.
        norm: From a number of channels to a normalisation.
        bare: Leave the last convolution without normalisation and PReLU.
    """

    def __init__(
        self,
        before: int,
        after: int,
        stride: int,
        convolutions: int,
        norm: Norm,
        *,
        bare: bool = False,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for number in range(convolutions):
            first = number == 0
            layers.append(
                nn.Conv3d(before if first else after, after, 3, stride if first else 1, 1)
            )
            if not (bare and number == convolutions - 1):
                layers += [norm(after), nn.PReLU()]
        self.convolutions = nn.Sequential(*layers)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1:
            self.shortcut = nn.Conv3d(before, after, 3, stride, 1)
        elif before != after:
            self.shortcut = nn.Conv3d(before, after, 1)

    @override
    def forward(self, volumes: Tensor) -> Tensor:
        """Map (C, before, X, Y, Z) to (C, after, X, Y, Z) over the stride."""
        shortcut: Tensor = self.shortcut(volumes)
        mapped: Tensor = self.convolutions(volumes)
        return mapped + shortcut


def _up(before: int, after: int, norm: Norm, *, top: bool) -> nn.Module:
    return nn.Sequential(
        nn.ConvTranspose3d(before, after, 3, 2, 1, output_padding=1),
        norm(after),
        nn.PReLU(),
        Residual(after, after, 1, 1, norm, bare=top),
    )


class UNet(nn.Module):
    """From (C, 1, X, Y, Z) volumes to (C, 2, X, Y, Z) logits, sides multiples of 16.

    Args:
        norm: From a number of channels to a normalisation.
        channels: Of each level.
    """

    def __init__(self, norm: Norm, channels: Sequence[int] = TABLE_1) -> None:
        super().__init__()
        *levels, bottom = channels
        self.down = nn.ModuleList(
            Residual(before, after, 2, 2, norm)
            for before, after in zip([1, *levels], levels, strict=False)
        )
        self.bottom = Residual(levels[-1], bottom, 1, 2, norm)
        inputs = [bottom + levels[-1], *(2 * level for level in levels[-2::-1])]
        outputs = [*levels[-2::-1], 2]
        self.up = nn.ModuleList(
            _up(before, after, norm, top=after == 2)
            for before, after in zip(inputs, outputs, strict=True)
        )

    @override
    def forward(self, volumes: Tensor) -> Tensor:
        """Map volumes to logits."""
        kept = []
        for level in self.down:
            volumes = level(volumes)
            kept.append(volumes)
        volumes = self.bottom(volumes)
        for level, beside in zip(self.up, reversed(kept), strict=True):
            volumes = level(torch.cat([beside, volumes], dim=1))
        return volumes
