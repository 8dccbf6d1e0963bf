"""The 3D U-Net of the paper's Table 1."""

from __future__ import annotations

import torch
from monai.networks.nets import UNet
from torch import nn


def build_network() -> nn.Module:
    """Builds the residual 3D U-Net of Table 1: 4,806,481 trainable parameters.

    Batch normalisation is not affine: with scales and shifts there would be 4,808,917 parameters,
    and the rows of the table would not add up.

    Returns:
        A network from (C, 1, X, Y, Z) images to (C, 2, X, Y, Z) logits of background and lesion.
        The sides are multiples of 16; in training at least 32, for batch normalisation needs more
        than one value per channel.
    """
    network: nn.Module = UNet(
        spatial_dims=3,
        in_channels=1,
        out_channels=2,
        channels=(16, 32, 64, 128, 256),
        strides=(2, 2, 2, 2),
        num_res_units=2,
        act="PRELU",
        norm=("batch", {"affine": False}),
    )
    return network


def initial_network(seed: int, device: torch.device) -> nn.Module:
    """Builds the network with the initial state that ``seed`` draws.

    The teacher starts here, and so does every student unless it starts from the teacher's weights.
    Either way, what differs at the end is the training. The caller's random stream is left
    as found.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build_network().to(device)
