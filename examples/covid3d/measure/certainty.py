"""One scan segmented by several networks: the mask, its volume, and how sure they are of it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from examples.covid3d.measure.metrics import dice
from examples.covid3d.scans.geometry import Grid, resample
from examples.covid3d.scans.store import THRESHOLD

SURE, DOUBTED = 0.9, 0.1
"""Probabilities above which foreground is sure, and up to which it is excluded."""


@dataclass(frozen=True, eq=False)
class Segmentation:
    """A scan, segmented.

    Attributes:
        mask: Labels 0 or 1 on the scan's own grid.
        probability: Of foreground, there too, float32: the mean over the networks.
        numbers: Columns of ``predictions.csv``: ``lesion_voxels``; ``volume_ml`` and, beside it,
            ``sure_ml`` and ``possible_ml``, the volumes that are foreground with more than 90 % and
            more than 10 %; ``mean_entropy``, bits a voxel over what is marked, from 0 (sure) to 1,
            empty where nothing is; and how far the networks differ, each with a threshold of its
            own, on the working grid: ``networks``, ``volume_std_ml`` and ``network_dice``, the mean
            Dice of two of them; the last two empty with one network.
    """

    mask: NDArray[np.uint8]
    probability: NDArray[np.float32]
    numbers: dict[str, Any]


def segmentation(each: Sequence[Tensor], grid: Grid, own_grid: Grid) -> Segmentation:
    """Averages the networks' probabilities and brings them to the scan's own grid.

    Args:
        each: Foreground probability of each network, (X, Y, Z) on ``grid``.
        grid: The working grid.
        own_grid: The scan's own.

    Returns:
        Mask, probability and numbers.
    """
    own = resample(torch.stack(tuple(each)).mean(0), grid, own_grid, "linear").numpy()
    mask = (own > THRESHOLD).astype(np.uint8)
    ml = own_grid.voxel_ml
    numbers: dict[str, Any] = {
        "volume_ml": float(mask.sum()) * ml,
        "lesion_voxels": int(mask.sum()),
        "sure_ml": float((own > SURE).sum()) * ml,
        "possible_ml": float((own > DOUBTED).sum()) * ml,
        "mean_entropy": _mean_entropy(own[mask == 1]),
        "networks": len(each),
        "volume_std_ml": "",
        "network_dice": "",
    }
    if len(each) > 1:
        masks = [(one > THRESHOLD).numpy() for one in each]
        volumes = [float(one.sum()) * grid.voxel_ml for one in masks]
        numbers["volume_std_ml"] = float(np.std(volumes, ddof=1))
        pairs = itertools.combinations(masks, 2)
        numbers["network_dice"] = float(np.mean([dice(a, b) for a, b in pairs]))
    return Segmentation(mask, own, numbers)


def _mean_entropy(probabilities: NDArray[np.float32]) -> float | str:
    if not probabilities.size:
        return ""
    p = np.clip(probabilities.astype(np.float64), 1e-12, 1 - 1e-12)
    return float(np.mean(-p * np.log2(p) - (1 - p) * np.log2(1 - p)))
