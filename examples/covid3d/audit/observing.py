"""What the network that did not learn from a scan would have drawn in it, one scan at a time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from tqdm import tqdm

from examples.covid3d.audit.drawing import Drawing
from examples.covid3d.common.files import read_arrays, write_arrays
from examples.covid3d.run.context import Context
from examples.covid3d.scans.geometry import resample
from examples.covid3d.scans.manifest import Entry
from examples.covid3d.scans.nifti import load_mask
from examples.covid3d.scans.store import stored
from examples.covid3d.train.lesson import Lesson

_PROBABILITY = "probability.npz"


def place_of(folder: Path, name: str) -> Path:
    """Where a scan's part of the audit lies."""
    return folder / "scans" / name


def observe(lesson: Lesson, network: nn.Module, names: Sequence[str], folder: Path) -> None:
    """Writes the probability of foreground in each of the scans, on the working grid.

    Args:
        lesson: How to draw.
        network: One that learnt from none of these scans.
        names: The scans.
        folder: Where to; what an interrupted attempt left there is not drawn again.
    """
    for name in tqdm(names, desc=f"draw, not {lesson.replicate.teacher}", unit="scan"):
        path = place_of(folder, name) / _PROBABILITY
        if not path.exists():
            probability = lesson.probability(network, stored(lesson.prepared, name))
            # In 256 steps: as much as a judge can use, and four times smaller.
            steps = (probability * 255).round().numpy().astype(np.uint8)
            write_arrays(path, probability=steps)


def probability_of(folder: Path, name: str) -> NDArray[np.float32]:
    """The probability of foreground on the working grid, (X, Y, Z)."""
    steps = read_arrays(place_of(folder, name) / _PROBABILITY)["probability"]
    return steps.astype(np.float32) / np.float32(255)


class Drawings(Sequence[Drawing]):
    """The scans' given masks beside what was drawn, on the scans' own grids.

    Each is read when it is asked for, and not held.

    Args:
        context: The audit's folder, with settings.
        folder: Where the probabilities lie.
        entries: The scans.
        losses: Mean loss of each scan over the training that saw it, where it was logged.
    """

    def __init__(
        self,
        context: Context,
        folder: Path,
        entries: Sequence[Entry],
        losses: Mapping[str, float],
    ) -> None:
        self._context, self._folder = context, folder
        self._entries, self._losses = entries, losses

    def __len__(self) -> int:
        return len(self._entries)

    def some(self, indices: Sequence[int]) -> Drawings:
        """Some of them."""
        entries = [self._entries[i] for i in indices]
        return Drawings(self._context, self._folder, entries, self._losses)

    @overload
    def __getitem__(self, index: int) -> Drawing: ...

    @overload
    def __getitem__(self, index: slice) -> Drawings: ...

    def __getitem__(self, index: int | slice) -> Drawing | Drawings:
        if isinstance(index, slice):
            return self.some(range(len(self))[index])
        entry, context = self._entries[index], self._context
        scan, place = entry.scan(context.prepared), stored(context.prepared, entry.name)
        if scan.mask is None:
            raise ValueError(f"{entry.name} has no mask")
        own = place.own_grid
        given = load_mask(scan.mask, scan.image, own, foreground=context.config.foreground_labels)
        working = torch.from_numpy(probability_of(self._folder, entry.name))
        probability = resample(working, place.grid, own, "linear").numpy()
        loss = self._losses.get(entry.name, math.nan)
        return Drawing(entry.name, given, probability, own.spacing, loss=loss)
