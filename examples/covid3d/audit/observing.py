"""What the network that did not learn from a scan would have drawn in it, one scan at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from tqdm import tqdm

from examples.covid3d.audit.drawing import Drawing
from examples.covid3d.audit.halves import Half, Remembered
from examples.covid3d.common.files import read_arrays, write_arrays
from examples.covid3d.measure.report.cases.volumes import turned
from examples.covid3d.run.context import Context
from examples.covid3d.scans.geometry import resample
from examples.covid3d.scans.manifest import Entry
from examples.covid3d.scans.nifti import load_mask
from examples.covid3d.scans.store import stored

_PROBABILITY = "probability.npz"


def place_of(folder: Path, name: str) -> Path:
    """Where a scan's part of the audit lies."""
    return folder / "scans" / name


def observe(half: Half, network: nn.Module, folder: Path) -> None:
    """Writes the probability of foreground in each scan of a half, on the working grid.

    Args:
        half: The scans.
        network: That which learnt from the other half.
        folder: Where to; what an interrupted attempt left there is not drawn again.
    """
    lesson = half.lesson
    for name in tqdm(half.scans, desc=f"draw {half.name}", unit="scan"):
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
    """The scans' given masks beside what was drawn, on the scans' own voxels, turned to RAS+.

    Each is read when it is asked for, and not held. Turned, so that what is said of left and right
    is true of a scan in slices of any direction.

    Args:
        context: The audit's folder, with settings.
        folder: Where the probabilities lie.
        entries: The scans.
        remembered: What the training that saw a scan remembers of it.
    """

    def __init__(
        self,
        context: Context,
        folder: Path,
        entries: Sequence[Entry],
        remembered: Mapping[str, Remembered],
    ) -> None:
        self._context, self._folder = context, folder
        self._entries, self._remembered = entries, remembered

    def __len__(self) -> int:
        return len(self._entries)

    def some(self, indices: Sequence[int]) -> Drawings:
        """Some of them."""
        entries = [self._entries[i] for i in indices]
        return Drawings(self._context, self._folder, entries, self._remembered)

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
        probability, spacing = turned(resample(working, place.grid, own, "linear").numpy(), own)
        of_scan = self._remembered.get(entry.name, Remembered())
        return Drawing(
            entry.name, turned(given, own)[0], probability, spacing, of_scan.memory, of_scan.loss
        )
