"""Synthetic scans whose sound masks are known: a bent body in two parts."""

import numpy as np
from scipy.ndimage import gaussian_filter

from examples.covid3d.audit.drawing import Drawing

SHAPE = (30, 40, 28)
SPACING = (1.0, 1.0, 1.0)


def labels(seed: int, shape=SHAPE) -> np.ndarray:
    """A front part, 1, and a rear part, 2, off-centre, of a size of its own."""
    rng = np.random.default_rng([seed, 0])
    size = rng.uniform(0.93, 1.07, 3)
    at = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    centre = np.asarray([11, 24, 11]) + rng.uniform(-1, 1, 3)
    x, y, z = np.moveaxis((at - centre) / (np.asarray([6, 13, 5]) * size), -1, 0)
    body = (x + 0.5 * y**2) ** 2 + y**2 + z**2 < 1
    rough = rng.normal(0, 1, shape) > 0.9
    edge = gaussian_filter(body.astype(float), 0.7)
    body = np.where((edge > 0.3) & (edge < 0.7), body ^ rough, body)
    return np.where(body, np.where(y > 0, 1, 2), 0).astype(np.uint8)


def drawn(seed: int) -> np.ndarray:
    """What a network would draw: the body, smooth and a little off."""
    rng = np.random.default_rng([seed, 1])
    wrong = gaussian_filter(rng.normal(0, 1, SHAPE), 2)
    smooth = gaussian_filter((labels(seed) > 0).astype(float), 1.0)
    return np.clip(smooth + 0.5 * wrong, 0, 1).astype(np.float32)


def drawing(seed: int, given=None) -> Drawing:
    """A sound mask, or another, beside what a network would draw."""
    mask = (labels(seed) > 0).astype(np.uint8) if given is None else given
    return Drawing(f"scan{seed}", mask, drawn(seed), SPACING)
