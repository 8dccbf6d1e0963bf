"""Refining a pseudo-label by an active contour, after Ma et al. 2020.

Ma et al., "Active contour regularized semi-supervised learning for COVID-19 CT infection
segmentation with limited annotations", regularise pseudo-labels by the region-scalable fitting
energy of Li, Kao, Gore & Ding 2008. With φ > 0 inside, M_1 = H(φ), M_2 = 1 - H(φ) and a Gaussian K:

    E = Σ_i ∫∫ K(x - y) |I(y) - f_i(x)|² M_i(y) dy dx + ν ∫ |∇H(φ)| + μ ∫ (|∇φ| - 1)² / 2
    f_i = K * (M_i I) / (K * M_i)
    e_i(y) = ∫ K(x - y) |I(y) - f_i(x)|² dx
    ∂φ/∂t = δ(φ) (e_2 - e_1 + ν κ) + μ (∇²φ - κ),    κ = div(∇φ / |∇φ|)
    H(φ) = 1/2 + arctan(φ / ε) / π,    δ = H'

What the public description leaves open, and is chosen here:

- Theirs is a term of the loss, minimised by iterative convolution and thresholding in turn with the
  network. Here masks are refined as such, between two trainings, by the level set of the source.
- Intensities are scaled to variance 1 in the band, and e_2 - e_1 is clipped to [-1, 1]. So weights
  mean the same for any modality, and noise cannot throw φ far; the energy still descends.
- Only a band around the given mask moves: a pseudo-label is to be mended, not replaced.
- The time step makes the data term move φ by at most half a voxel, and keeps both diffusion-like
  terms within the stability limit of an explicit step.
- The evolution ends when the mask has all but stopped changing.

A contour knows intensities, not anatomy: beside the chest wall or a vessel it moves a *right* mask,
too. Hence a narrow band and a stiff contour by default; a region mask (the lungs) helps more.
"""

from __future__ import annotations

import math
from collections import deque

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, gaussian_filter1d

Volume = NDArray[np.float32]
Spacing = tuple[float, float, float]

# In standard deviations, as in the source's windows of 4 sigma + 1 voxels.
_TRUNCATE = 2.0
_TINY = np.float32(1e-6)


def smooth(volume: Volume, sigma: Spacing) -> Volume:
    """Gaussian mean; ``sigma`` in voxels along each axis, the border voxel repeated beyond."""
    # One axis after the other, always the last: strided over, power-of-two sizes miss the cache.
    for width in reversed(sigma):
        volume = gaussian_filter1d(volume, width, mode="nearest", truncate=_TRUNCATE)
        volume = np.ascontiguousarray(np.moveaxis(volume, -1, 0))
    return volume


def region_force(image: Volume, mean: Volume, inside: Volume, sigma: Spacing) -> Volume:
    """e_2 - e_1: how much better the inside's local mean fits each voxel than the outside's.

    Args:
        image: (X, Y, Z).
        mean: K * I, that is ``smooth(image, sigma)``, which does not change as the contour moves.
        inside: H(φ), the share of each voxel that is inside, in [0, 1], (X, Y, Z).
        sigma: Of the Gaussian, voxels along each axis.

    Returns:
        Positive where a voxel looks like the inside near it, in squared units of ``image``.
    """
    weight = smooth(inside, sigma)
    weighted = smooth(inside * image, sigma)
    f_1: Volume = weighted / weight.clip(_TINY)
    f_2: Volume = (mean - weighted) / (1 - weight).clip(_TINY)
    squares = smooth(f_2 * f_2 - f_1 * f_1, sigma)
    # I² (K * 1) is in both e_1 and e_2.
    force: Volume = np.float32(2) * image * smooth(f_1 - f_2, sigma) + squares
    return force


def curvature_and_laplacian(phi: Volume, spacing: Spacing) -> tuple[Volume, Volume]:
    """κ = div(∇φ / |∇φ|), 1/mm, and ∇²φ, by central differences."""
    gradient = np.gradient(phi, *spacing)
    norm = np.sqrt(sum((g * g for g in gradient), start=np.full_like(phi, _TINY)))
    kappa, laplacian = np.zeros_like(phi), np.zeros_like(phi)
    padded = np.pad(phi, 1, mode="edge")
    for axis, (g, h) in enumerate(zip(gradient, spacing, strict=True)):
        kappa += np.gradient(g / norm, h, axis=axis)
        before, after = (
            padded[tuple(slice(s, s - 2 or None) if a == axis else slice(1, -1) for a in range(3))]
            for s in (0, 2)
        )
        laplacian += (before - 2 * phi + after) / np.float32(h * h)
    return kappa, laplacian


def signed_distance(inside: NDArray[np.bool_], spacing: Spacing) -> Volume:
    """Distance to the mask's border, mm, positive inside; neither all nor no voxels are inside."""
    within = distance_transform_edt(inside, sampling=spacing)
    without = distance_transform_edt(~inside, sampling=spacing)
    # From centre to centre; the border lies half-way.
    half = min(spacing) / 2
    distance: Volume = np.where(inside, within - half, half - without).astype(np.float32)
    return distance


def _crop(inside: NDArray[np.bool_], margin: list[int]) -> tuple[slice, ...]:
    return tuple(
        slice(max(0, int(where.min()) - more), int(where.max()) + more + 1)
        for where, more in zip(np.nonzero(inside), margin, strict=True)
    )


def refine(
    image: NDArray[np.floating],
    mask: NDArray[np.generic],
    spacing: Spacing,
    *,
    iterations: int = 60,
    sigma_mm: float = 4.0,
    band_mm: float = 3.0,
    length_mm: float = 1.0,
    region: NDArray[np.bool_] | None = None,
    tolerance: float = 0.002,
) -> NDArray[np.uint8]:
    """Moves the border of a mask to where the intensities near it part.

    Deterministic. Scaling or shifting the intensities, and inverting them, changes nothing but
    rounding.

    Args:
        image: Intensities, finite, (X, Y, Z).
        mask: The pseudo-label, not 0 inside, (X, Y, Z).
        spacing: Voxel size, mm.
        iterations: At most so many steps.
        sigma_mm: Scale of the Gaussian: how near the intensities are that a voxel is compared with.
        band_mm: Only voxels at most this far from the mask's border can change.
        length_mm: ν in units of the image's variance in the band. A lesion of radius r shrinks if
            it differs so little that e_2 - e_1 is below 2 ν / r.
        region: If given, only voxels in it (the lungs, say) can change.
        tolerance: Ends when, over five steps, fewer than this share of the border's voxels changed.

    Returns:
        Refined mask, 0 or 1. Empty and full masks, and masks where the image is constant, are given
        back unchanged. A small lesion may vanish.

    Raises:
        ValueError: If shapes disagree, a length is out of range or an intensity is not finite.
    """
    inside = np.asarray(mask) != 0
    shapes = {np.shape(v) for v in (image, inside, region) if v is not None}
    if len(shapes) != 1 or inside.ndim != 3:
        raise ValueError(f"shapes {shapes} of image, mask and region: expected one, of a volume")
    if min(*spacing, sigma_mm, band_mm) <= 0 or min(length_mm, tolerance, iterations) < 0:
        raise ValueError("spacing, sigma_mm and band_mm are above 0, all else 0 or more")
    result: NDArray[np.uint8] = inside.astype(np.uint8)
    if not inside.any() or inside.all():
        return result
    sigma = (sigma_mm / spacing[0], sigma_mm / spacing[1], sigma_mm / spacing[2])
    # Beyond twice the Gaussian's reach from the band, nothing bears upon the force in it.
    reach = [2 * int(_TRUNCATE * s + 0.5) + 1 for s in sigma]
    wide = [math.ceil(band_mm / h) + more for h, more in zip(spacing, reach, strict=True)]
    crop = _crop(inside, wide)
    phi = signed_distance(inside[crop], spacing)
    band = np.abs(phi) <= band_mm
    if region is not None:
        band &= region[crop].astype(bool)
    near = image[crop][band].astype(np.float64)
    mean, std = (near.mean(), near.std()) if near.size else (0.0, 0.0)
    if not math.isfinite(std):
        raise ValueError("an intensity near the mask is not finite")
    if std <= 1e-6 * abs(mean):
        return result
    scaled = ((image[crop] - mean) / std).astype(np.float32)
    mean_near = smooth(scaled, sigma)
    front = int((np.abs(phi) <= max(spacing)).sum())

    epsilon = min(spacing)
    limit = 1 / (2 * sum(h**-2 for h in spacing))
    step = math.pi * epsilon * min(0.5 * min(spacing), 0.8 * limit / max(length_mm, 1e-9))
    changes: deque[int] = deque(maxlen=5)
    for _ in range(iterations):
        share = (0.5 + np.arctan(phi / epsilon) / math.pi).astype(np.float32)
        force = region_force(scaled, mean_near, share, sigma)[band].clip(-1, 1)
        kappa, laplacian = (v[band] for v in curvature_and_laplacian(phi, spacing))
        now = phi[band]
        delta = epsilon / (math.pi * (epsilon**2 + now**2))
        moved = now + step * delta * (force + length_mm * kappa) + 0.2 * limit * (laplacian - kappa)
        changes.append(int(((moved > 0) != (now > 0)).sum()))
        phi[band] = moved
        if len(changes) == 5 and sum(changes) <= tolerance * front:
            break
    result[crop] = np.where(band, phi > 0, inside[crop])
    return result
