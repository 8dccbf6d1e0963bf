"""Random changes of a patch: its pose together with its mask, or its intensities alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import affine_transform, gaussian_filter
from scipy.spatial.transform import Rotation

Image = NDArray[np.float32]
Mask = NDArray[np.uint8]


def posed(
    image: Image,
    mask: Mask,
    rng: np.random.Generator,
    degrees: float,
    scaling: float,
    spacing: Sequence[float] = (1.0, 1.0, 1.0),
) -> tuple[Image, Mask]:
    """Rotates and scales a patch about its centre.

    Args:
        image: (X, Y, Z). What lies beyond its border has the value of the nearest voxel.
        mask: Same shape; likewise, so that a lesion cut by the border stays one.
        rng: Source of randomness; the same number of draws whatever the patch.
        degrees: Rotation about each axis is drawn from ± this.
        scaling: Each axis is stretched by a factor drawn from 1 ± this.
        spacing: Voxel size, any unit: a rotation is one of space, not of voxels.

    Returns:
        Image (linear) and mask (nearest) of the same shape.
    """
    angles = rng.uniform(-degrees, degrees, 3)
    stretch = 1 + rng.uniform(-scaling, scaling, 3)
    size = np.asarray(spacing)
    rotation = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    matrix = rotation / size[:, None] * (stretch * size)
    centre = (np.asarray(image.shape) - 1) / 2
    offset = centre - matrix @ centre
    turned: Image = affine_transform(image, matrix, offset, order=1, mode="nearest")
    labels: Mask = affine_transform(mask, matrix, offset, order=0, mode="nearest")
    return turned, labels


def jittered(image: Image, rng: np.random.Generator, strength: float) -> Image:
    """Changes contrast, brightness, gamma, sharpness and noise at random.

    The ranges at strength 1 are those usual in medical segmentation: contrast and gamma 0.67 to 1.5
    times, brightness by a third of the standard deviation, blur of up to a voxel's width, noise of
    up to a quarter of the standard deviation.

    Args:
        image: (X, Y, Z).
        rng: Source of randomness; the same number of draws whatever the image.
        strength: 0 (none) to 1.

    Returns:
        The same shape, float32.
    """
    contrast, shift, gamma, blur, noise = rng.uniform(-1, 1, 5) * strength
    grain = rng.standard_normal(image.shape, dtype=np.float32)
    low, high = float(image.min()), float(image.max())
    if high <= low:
        return image
    mean, deviation = float(image.mean()), float(image.std())
    unit = (image - low) / (high - low)
    changed = unit ** np.float32(np.exp(0.4 * gamma)) * (high - low) + low
    changed = (changed - mean) * np.float32(np.exp(0.4 * contrast)) + mean
    changed += np.float32(0.33 * shift * deviation)
    if blur > 0:
        changed = gaussian_filter(changed, blur)
    if noise > 0:
        changed += np.float32(0.25 * noise * deviation) * grain
    result: Image = changed.astype(np.float32)
    return result
