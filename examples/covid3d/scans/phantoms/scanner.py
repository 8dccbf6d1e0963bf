"""What a scanner makes of a chest: breathing, slice thickness, kernel, noise and calibration."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from examples.covid3d.scans.phantoms.fields import Mask, Volume, blur


@dataclass(frozen=True)
class Scanner:
    """A scanner and its protocol.

    Attributes:
        slices: Voxels of the phantom averaged into one slice.
        kernel: Reconstruction kernel: blur in voxels if positive, sharpening if negative.
        noise: Standard deviation of the noise, HU.
        offset: Error of calibration, HU.
        gain: Factor on HU + 1000, an error of calibration.
        flipped: Whether files store the patient's left and back first (LPS), as the Benchmark's do.
    """

    slices: int
    kernel: float
    noise: float
    offset: float
    gain: float
    flipped: bool


USUAL = Scanner(slices=1, kernel=0.5, noise=35, offset=0, gain=1.0, flipped=True)
"""Thin slices, moderate noise, well calibrated."""

OTHER = Scanner(slices=3, kernel=-0.6, noise=120, offset=200, gain=0.96, flipped=False)
"""Slices of 7.2 mm (the paper's hospital has 7 mm), a sharp, noisy kernel, HU far off."""

_PHASES = 5


def breathe(hu: Volume, lungs: Mask, mask: Mask, voxels: float) -> tuple[Volume, Mask]:
    """What is recorded of lungs that move along the body while they are scanned.

    Args:
        hu: True Hounsfield units at full breath, (X, Y, Z).
        lungs: Lung parenchyma.
        mask: True lesions.
        voxels: How far the diaphragm rises, in voxels.

    Returns:
        The mean over the phases of a breath, and the lesions at mid-breath, as one would draw them.
        The apex stays where it is; below it tissue rises the more, the lower it lies.
    """
    depth = np.flatnonzero(np.any(lungs, axis=(0, 1)))
    height = np.arange(hu.shape[2])
    share = np.clip((depth[-1] - height) / max(1, depth[-1] - depth[0]), 0, 1)
    inside = np.any(lungs, axis=2, keepdims=True)

    def risen(volume: Volume, phase: float) -> Volume:
        source = np.clip(height - phase * voxels * share, 0, hu.shape[2] - 1)
        low = np.floor(source).astype(int)
        high = np.minimum(low + 1, hu.shape[2] - 1)
        rest = (source - low).astype(np.float32)
        return np.where(inside, volume[:, :, low] * (1 - rest) + volume[:, :, high] * rest, volume)

    phases = np.linspace(0, 1, _PHASES)
    moved: Volume = np.mean([risen(hu, phase) for phase in phases], axis=0, dtype=np.float32)
    return moved, risen(mask.astype(np.float32), 0.5) > 0.5


def scan(rng: np.random.Generator, hu: Volume, mask: Mask, scanner: Scanner) -> tuple[Volume, Mask]:
    """Scans a phantom.

    Args:
        rng: The scan's random stream.
        hu: True Hounsfield units, (X, Y, Z).
        mask: True lesions, the same shape.
        scanner: What to scan with.

    Returns:
        HU as reconstructed, whole numbers from -1024 to 3071, and the mask on the scan's slices;
        Z is divided by ``scanner.slices``.
    """
    n = hu.shape[2] // scanner.slices
    slabs = (*hu.shape[:2], n, scanner.slices)
    thick = hu[:, :, : n * scanner.slices].reshape(slabs).mean(3)
    marked = mask[:, :, : n * scanner.slices].reshape(slabs).mean(3) >= 0.5
    noise = rng.standard_normal(thick.shape, dtype=np.float32)
    if scanner.kernel > 0:
        thick = blur(thick, scanner.kernel, axes=(0, 1))
        noise = blur(noise, scanner.kernel, axes=(0, 1))
    else:
        thick = thick - scanner.kernel * (thick - blur(thick, 1.0, axes=(0, 1)))
        # Streaks: photon noise is correlated along the long axis of the body.
        noise = noise + 0.8 * blur(noise, 2.0, axes=(0,)) / 0.38
    noise *= scanner.noise / noise.std()
    recorded = (thick + 1000) * scanner.gain - 1000 + scanner.offset + noise
    return np.clip(np.rint(recorded), -1024, 3071).astype(np.float32), marked
