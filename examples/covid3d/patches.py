"""Training batches of patches, each a pure function of the seed and the step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Size = tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class LabelledScan:
    """A scan to train on.

    Attributes:
        name: The scan's name.
        image: Intensities in [0, 1], (X, Y, Z).
        mask: Labels 0 or 1, an expert's or the teacher's, (X, Y, Z).
    """

    name: str
    image: NDArray[np.float32]
    mask: NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class PatchBatch:
    """A batch of patches.

    Attributes:
        images: (C, 1, *patch), float32.
        masks: (C, *patch), int64.
        names: The scan of each patch.
        origins: First voxel of each patch in its (padded) scan.
    """

    images: Tensor
    masks: Tensor
    names: tuple[str, ...]
    origins: tuple[Size, ...]

    def pair(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Images and masks on ``device``."""
        return self.images.to(device), self.masks.to(device)


def pad_to(volume: NDArray[np.generic], size: Size) -> NDArray[np.generic]:
    """Pads the far ends with zeros (air, background) to at least ``size``."""
    missing = [(0, max(0, wanted - n)) for n, wanted in zip(volume.shape, size, strict=True)]
    return np.pad(volume, missing) if any(after for _, after in missing) else volume


def cut(volume: NDArray[np.generic], origin: Size, size: Size) -> NDArray[np.generic]:
    """The patch of ``size`` at ``origin`` of a volume already padded."""
    x, y, z = (slice(start, start + n) for start, n in zip(origin, size, strict=True))
    return volume[x, y, z]


class PatchSampler:
    """Draws batches of patches; batch ``step`` is the same whatever was drawn before.

    So an interrupted training resumes with the batches it would have seen, and two trainings with
    the same seed see the same batches in the same order.

    Args:
        scans: Scans to draw from, at least one. Those smaller than the patch are padded.
        patch: Patch size, voxels.
        batch_size: Patches in a batch. They come from different scans as far as there are enough.
        foreground: Probability that a patch contains a random lesion voxel, in scans that have one.
        seed: Seed.
        stream: Keeps samplers with the same seed apart.
    """

    def __init__(
        self,
        scans: Sequence[LabelledScan],
        patch: Size,
        batch_size: int,
        foreground: float,
        seed: int,
        stream: int,
    ) -> None:
        if not scans:
            raise ValueError("no scan to draw patches from")
        self._scans = scans
        self._patch = patch
        self._batch_size = batch_size
        self._foreground = foreground
        self._key = (seed, stream)
        self._images = [pad_to(scan.image, patch) for scan in scans]
        self._masks = [pad_to(scan.mask, patch) for scan in scans]
        self._lesions = [np.flatnonzero(mask) for mask in self._masks]

    def _origin(self, rng: np.random.Generator, index: int) -> Size:
        shape = self._masks[index].shape
        room = [n - side for n, side in zip(shape, self._patch, strict=True)]
        # Drawn in any case, so that the stream does not depend on the mask.
        anywhere = [int(rng.integers(0, free + 1)) for free in room]
        wants_lesion, pick = rng.random(), rng.random()
        lesions = self._lesions[index]
        shift = [int(rng.integers(0, side)) for side in self._patch]
        if wants_lesion < self._foreground and lesions.size:
            voxel = np.unravel_index(lesions[int(pick * lesions.size)], shape)
            anywhere = [
                int(np.clip(at - back, 0, free))
                for at, back, free in zip(voxel, shift, room, strict=True)
            ]
        return anywhere[0], anywhere[1], anywhere[2]

    def draw(self, step: int) -> PatchBatch:
        """Draws batch number ``step``, each patch flipped left-right and front-back at random."""
        rng = np.random.default_rng([*self._key, step])
        few = len(self._scans) < self._batch_size
        chosen = rng.choice(len(self._scans), self._batch_size, replace=few)
        images, masks, names, origins = [], [], [], []
        for index in chosen:
            origin = self._origin(rng, int(index))
            axes = tuple(axis for axis in (0, 1) if rng.random() < 0.5)
            image = cut(self._images[index], origin, self._patch)
            mask = cut(self._masks[index], origin, self._patch)
            images.append(np.ascontiguousarray(np.flip(image, axes)))
            masks.append(np.ascontiguousarray(np.flip(mask, axes)))
            names.append(self._scans[index].name)
            origins.append(origin)
        return PatchBatch(
            torch.from_numpy(np.stack(images))[:, None],
            torch.from_numpy(np.stack(masks)).long(),
            tuple(names),
            tuple(origins),
        )
