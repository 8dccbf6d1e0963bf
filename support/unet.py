"""The 3D U-Net of the paper's Table 1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from monai.networks.nets import UNet
from torch import nn

Norm = Literal["batch", "instance"]

TABLE_1 = (16, 32, 64, 128, 256)
"""Channels of the paper's network, level by level."""


def build_network(channels: Sequence[int] = TABLE_1, norm: Norm = "batch") -> nn.Module:
    """Builds the residual 3D U-Net of Table 1: 4,806,481 trainable parameters.

    Batch normalisation is not affine: with scales and shifts there would be 4,808,917 parameters,
    and the rows of the table would not add up.

    Args:
        channels: Of each level; fewer make a smaller network of the same kind.
        norm: Normalisation, not affine either way.

    Returns:
        A network from (C, 1, X, Y, Z) images to (C, 2, X, Y, Z) logits of background and
        foreground. With L levels the sides are multiples of 2^(L-1); in training at least twice
        that, for batch normalisation needs more than one value per channel.
    """
    network: nn.Module = UNet(
        spatial_dims=3,
        in_channels=1,
        out_channels=2,
        channels=tuple(channels),
        strides=(2,) * (len(channels) - 1),
        num_res_units=2,
        act="PRELU",
        norm=(norm, {"affine": False}),
    )
    return network
