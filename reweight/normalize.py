"""Scores on one scale: the normalisation g of the paper (Eq. 5 and 7), and standard scores."""

from __future__ import annotations

import torch
from torch import Tensor

from reweight._dtypes import at_least_float32, largest_or_one


def normalize(scores: Tensor) -> Tensor:
    """Turn scores of any sign into weights that sum to 1, or are all zero.

    Eq. 5 and 7 with the δ of Algorithm 1, lines 12 and 14: ``s⁺ / (Σ s⁺ + δ(Σ s⁺))``, where
    ``s⁺ = max(s, 0)`` and ``δ`` is 1 at zero and 0 elsewhere. The positive scores are divided by
    their maximum first, so that neither their sum overflows nor a batch of tiny scores vanishes.

    Args:
        scores: Finite scores of any shape, any real dtype.

    Returns:
        Weights of the same shape, in float32 or wider. They are not negative and sum to 1 over
        *all* elements, or are all zero when no score is positive.

    Example:
        >>> import torch
        >>> from reweight import normalize
        >>> normalize(torch.tensor([3.0, -2.0, 1.0]))
        tensor([0.7500, 0.0000, 0.2500])
    """
    positive = at_least_float32(scores).clamp(min=0) + 0.0  # no weight is -0.0
    if positive.numel() == 0:
        return positive
    relative = positive / largest_or_one(positive)
    total = relative.sum()
    return relative / torch.where(total > 0, total, torch.ones_like(total))


CLIP = 3.0
"""How far a standardised score may be from zero: no step says more of a sample than that."""


def standardise(scores: Tensor) -> Tensor:
    """Return z = s / rms(s), clipped to ±3: scores of different steps on one scale.

    They are not centred: the sign of a score means something. Where all are zero, so is z.

    Args:
        scores: Finite scores of any shape, any real dtype.

    Returns:
        Of the same shape, in float32 or wider.
    """
    wide = at_least_float32(scores)
    if wide.numel() == 0:
        return wide
    relative = wide / largest_or_one(wide)
    rms = relative.square().mean().sqrt()
    return (relative / torch.where(rms > 0, rms, torch.ones_like(rms))).clamp(-CLIP, CLIP)


# Where hardly anything is left to divide by, what is left is rounding.
_FLOOR = 1e-3


def per_unit_of(scores: Tensor, sizes: Tensor) -> Tensor:
    """Return scores divided by sizes, to which a thousandth of their root mean square is added.

    Args:
        scores: Finite, of any shape and sign.
        sizes: Finite, in that shape, none negative. Where all are zero, nothing is divided.
    """
    wide = torch.promote_types(scores.dtype, sizes.dtype)
    scores, sizes = at_least_float32(scores).to(wide), at_least_float32(sizes).to(wide)
    if sizes.numel() == 0:
        return scores
    relative = sizes / largest_or_one(sizes)
    floor = _FLOOR * relative.square().mean().sqrt()
    return scores / torch.where(floor > 0, relative + floor, torch.ones_like(relative))
