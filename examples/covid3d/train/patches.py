"""Training batches of patches, each a pure function of the seed and the step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from examples.covid3d.train.augment import jittered, posed

Size = tuple[int, int, int]


class TrainingScan(Protocol):
    """A scan to draw patches from, in memory or on disk."""

    @property
    def name(self) -> str:
        """The scan's name."""

    @property
    def image(self) -> NDArray[np.float32]:
        """Prepared intensities, (X, Y, Z)."""

    @property
    def mask(self) -> NDArray[np.uint8]:
        """Labels 0 or 1, an expert's or the teacher's, (X, Y, Z)."""

    @property
    def foreground(self) -> NDArray[np.int64]:
        """Flat indices of the voxels labelled 1, ascending."""


@dataclass(frozen=True, eq=False)
class LabelledScan:
    """A scan in memory.

    Attributes:
        name: The scan's name.
        image: (X, Y, Z).
        mask: Labels 0 or 1, (X, Y, Z).
        foreground: Flat indices of the voxels labelled 1.
    """

    name: str
    image: NDArray[np.float32]
    mask: NDArray[np.uint8]
    foreground: NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "foreground", np.flatnonzero(self.mask))


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


class Draws(Protocol):
    """Draws batches by their number."""

    def draw(self, step: int) -> PatchBatch:
        """Draws batch number ``step``."""


def cut(volume: NDArray[Any], origin: Size, patch: Size) -> NDArray[Any]:
    """Cuts a patch, with zeros where it reaches beyond the volume's far ends."""
    x, y, z = (slice(first, first + side) for first, side in zip(origin, patch, strict=True))
    found = volume[x, y, z]
    missing = [(0, side - n) for side, n in zip(patch, found.shape, strict=True)]
    return np.pad(found, missing) if any(after for _, after in missing) else np.asarray(found)


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
        flip_axes: Axes along which a patch is flipped, each with probability a half.
        rotation: Random rotation about each axis, up to so many degrees.
        scaling: Random stretching of each axis, by up to this share.
        jitter: Strength of random changes of contrast, noise and blur, 0 for none.
        spacing: Voxel size, mm, for rotations.
    """

    def __init__(
        self,
        scans: Sequence[TrainingScan],
        patch: Size,
        batch_size: int,
        foreground: float,
        seed: int,
        stream: int,
        *,
        flip_axes: Sequence[int] = (0, 1),
        rotation: float = 0.0,
        scaling: float = 0.0,
        jitter: float = 0.0,
        spacing: Sequence[float] = (1.0, 1.0, 1.0),
    ) -> None:
        if not scans:
            raise ValueError("no scan to draw patches from")
        self._scans = scans
        self._patch = patch
        self._batch_size = batch_size
        self._foreground = foreground
        self._key = (seed, stream)
        self._flip_axes = tuple(flip_axes)
        self._rotation, self._scaling, self._jitter = rotation, scaling, jitter
        self._spacing = tuple(spacing)

    def _origin(self, rng: np.random.Generator, scan: TrainingScan, shape: Size) -> Size:
        room = [max(0, n - side) for n, side in zip(shape, self._patch, strict=True)]
        # Drawn in any case, so that the stream does not depend on the mask.
        anywhere = [int(rng.integers(0, free + 1)) for free in room]
        wants_lesion, pick = rng.random(), rng.random()
        shift = [int(rng.integers(0, side)) for side in self._patch]
        if wants_lesion < self._foreground:
            lesion = scan.foreground
            if lesion.size:
                voxel = np.unravel_index(int(lesion[int(pick * lesion.size)]), shape)
                anywhere = [
                    int(np.clip(at - back, 0, free))
                    for at, back, free in zip(voxel, shift, room, strict=True)
                ]
        return anywhere[0], anywhere[1], anywhere[2]

    def draw(self, step: int) -> PatchBatch:
        """Draws batch number ``step``."""
        rng = np.random.default_rng([*self._key, step])
        few = len(self._scans) < self._batch_size
        chosen = rng.choice(len(self._scans), self._batch_size, replace=few)
        images, masks, names, origins = [], [], [], []
        for index in chosen:
            scan = self._scans[int(index)]
            whole, labels = scan.image, scan.mask
            x, y, z = whole.shape
            origin = self._origin(rng, scan, (x, y, z))
            axes = tuple(axis for axis in self._flip_axes if rng.random() < 0.5)
            image, mask = cut(whole, origin, self._patch), cut(labels, origin, self._patch)
            image, mask = np.flip(image, axes), np.flip(mask, axes)
            if self._rotation or self._scaling:
                image, mask = posed(image, mask, rng, self._rotation, self._scaling, self._spacing)
            if self._jitter:
                image = jittered(image, rng, self._jitter)
            images.append(np.ascontiguousarray(image))
            masks.append(np.ascontiguousarray(mask))
            names.append(scan.name)
            origins.append(origin)
        return PatchBatch(
            torch.from_numpy(np.stack(images))[:, None],
            torch.from_numpy(np.stack(masks)).long(),
            tuple(names),
            tuple(origins),
        )
