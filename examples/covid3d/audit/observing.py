"""What the trained network would have drawn in each scan, one scan at a time."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import nn
from tqdm import tqdm

from examples.covid3d.audit.agreement import measured
from examples.covid3d.common.files import read_arrays, read_json, write_arrays, write_json
from examples.covid3d.scans.store import StoredScan, stored_with_mask
from examples.covid3d.train.lesson import Lesson

_NUMBERS, _PROBABILITY = "observed.json", "probability.npz"


def _place(folder: Path, name: str) -> Path:
    return folder / "scans" / name


def observe(
    lesson: Lesson,
    network: nn.Module,
    memory: Mapping[str, Mapping[str, float]],
    folder: Path,
) -> None:
    """Writes each scan's probability of foreground, and what the judge measures of it.

    Args:
        lesson: Which scans.
        network: The trained one.
        memory: What the training says of scans.
        folder: Where to; scans that an interrupted attempt left there are not drawn again.
    """
    roles = lesson.replicate.roles
    for name in tqdm(sorted((*roles["trusted"], *roles["unlabelled"])), desc="draw", unit="scan"):
        place = _place(folder, name)
        if read_json(place / _NUMBERS):
            continue
        scan = stored_with_mask(lesson.prepared, name)
        # In 256 steps: as they are kept, so that what is measured does not depend on a restart.
        steps = (lesson.probability(network, scan) * 255).round().numpy().astype(np.uint8)
        write_arrays(place / _PROBABILITY, probability=steps)
        numbers = measured(
            np.asarray(scan.mask), _unit(steps), lesson.config.spacing, memory.get(name, {})
        )
        # Last, for its presence means that both are there.
        write_json(place / _NUMBERS, numbers)


def _unit(steps: NDArray[np.uint8]) -> NDArray[np.float32]:
    return steps.astype(np.float32) / np.float32(255)


def numbers_of(folder: Path, name: str) -> dict[str, float]:
    """What was measured of a scan."""
    return {key: float(value) for key, value in read_json(_place(folder, name) / _NUMBERS).items()}


def probability_of(folder: Path, scan: StoredScan) -> NDArray[np.float32]:
    """The network's probability of foreground, (X, Y, Z)."""
    return _unit(read_arrays(_place(folder, scan.name) / _PROBABILITY)["probability"])
