"""Foreground probability of a whole scan by sliding window."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from monai.inferers import sliding_window_inference
from numpy.typing import NDArray
from torch import Tensor, nn

from examples.covid3d.common.files import read_torch
from examples.covid3d.train.network import network_of


def load_network(weights: Path, device: torch.device) -> nn.Module:
    """Builds the network with trained weights, in evaluation mode."""
    return network_of(read_torch(weights)).to(device).eval()


@torch.no_grad()
def foreground_probability(
    network: nn.Module,
    image: NDArray[np.float32],
    patch: tuple[int, int, int],
    overlap: float,
    flip_axes: Sequence[int] = (),
) -> Tensor:
    """Predicts a whole scan from overlapping windows, blended with Gaussian weights.

    Never under autocast, whatever the caller's.

    Args:
        network: From (C, 1, *patch) to logits (C, 2, *patch). Put into evaluation mode and then
            back.
        image: (X, Y, Z).
        patch: Window, voxels.
        overlap: Share of a window that its neighbour covers again, in [0, 1).
        flip_axes: The probability is the mean over all flips along these axes; none by default.

    Returns:
        Probability of foreground, (X, Y, Z), float32, on the CPU. A half is the argmax's threshold.
    """
    device = next(network.parameters()).device
    was_training = network.training
    network.eval()
    total: Tensor | float = 0.0
    # A copy: mapped arrays cannot be written to, and tensors of them would claim they can.
    whole = torch.from_numpy(np.array(image, dtype=np.float32))[None, None].to(device)
    flips = [
        [axis + 2 for axis in axes]
        for n in range(len(flip_axes) + 1)
        for axes in itertools.combinations(flip_axes, n)
    ]
    try:
        with torch.autocast(device.type, enabled=False):
            for axes in flips:
                logits = sliding_window_inference(
                    whole.flip(axes),
                    roi_size=patch,
                    sw_batch_size=4,
                    predictor=network,
                    overlap=overlap,
                    mode="gaussian",
                )
                total = total + torch.softmax(logits.float(), dim=1).flip(axes)[0, 1]
    finally:
        network.train(was_training)
    assert isinstance(total, Tensor)
    return (total / len(flips)).cpu()
