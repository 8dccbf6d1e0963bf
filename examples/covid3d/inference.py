"""Lesion probability of a whole scan by sliding window."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from monai.inferers import sliding_window_inference
from numpy.typing import NDArray
from torch import Tensor, nn

from examples.covid3d.network import build_network


def load_network(weights: Path, device: torch.device) -> nn.Module:
    """Builds the network with trained weights, in evaluation mode."""
    network = build_network()
    network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    return network.to(device).eval()


@torch.no_grad()
def lesion_probability(
    network: nn.Module, image: NDArray[np.float32], patch: tuple[int, int, int], overlap: float
) -> Tensor:
    """Predicts a whole scan from overlapping windows, blended with Gaussian weights.

    Args:
        network: From (C, 1, *patch) to logits (C, 2, *patch). Put into evaluation mode and then
            back into the mode it was in.
        image: Intensities in [0, 1], (X, Y, Z); smaller than the window is fine.
        patch: Window, voxels.
        overlap: Share of a window that the next one covers again, in [0, 1).

    Returns:
        Probability of lesion, (X, Y, Z), float32, on the CPU. A half is the argmax's threshold.
    """
    device = next(network.parameters()).device
    was_training = network.training
    network.eval()
    try:
        logits = sliding_window_inference(
            torch.from_numpy(image)[None, None].to(device),
            roi_size=patch,
            sw_batch_size=4,
            predictor=network,
            overlap=overlap,
            mode="gaussian",
        )
    finally:
        network.train(was_training)
    probability: Tensor = torch.softmax(logits[0].float(), dim=0)[1].cpu()
    return probability
