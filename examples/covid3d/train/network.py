"""The 3D U-Net of the paper's Table 1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from examples.covid3d.common.config import Norm
from support.unet import TABLE_1, build_network


def initial_network(
    seed: int,
    device: torch.device,
    channels: Sequence[int] = TABLE_1,
    norm: Norm = "batch",
) -> nn.Module:
    """Builds the network with the initial state that ``seed`` draws.

    The teacher starts here, and so does every student unless it starts from the teacher's weights.
    Either way, what differs at the end is the training. The caller's random stream is left
    as found.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build_network(channels, norm).to(device)


def network_of(state: Mapping[str, Tensor]) -> nn.Module:
    """Builds the network that trained weights are of, and gives it those."""
    batch = any(name.endswith("running_mean") for name in state)
    network = build_network(channels_of(state), "batch" if batch else "instance")
    network.load_state_dict(state)
    return network


def channels_of(state: Mapping[str, Tensor]) -> tuple[int, ...]:
    """Channels of each level, read off a network's weights."""
    prefix, levels = "model.", []
    while True:
        here = f"{prefix}0.conv.unit0.conv.weight"
        bottom = f"{prefix}conv.unit0.conv.weight"
        if here in state:
            levels.append(int(state[here].shape[0]))
            prefix += "1.submodule."
        else:
            return (*levels, int(state[bottom].shape[0]))
