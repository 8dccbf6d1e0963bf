"""Rectification at the uniform weight 1/C, the paper's query function."""

from __future__ import annotations

import torch
from torch import Tensor

from reweight._dtypes import at_least_float32

# Weights that are uniform but for rounding must all survive: a weight that went through g and a
# mixture is off by a few units in the last place of its own dtype.
_ULPS = 4


class Rectify:
    """Keep the weights that reach a threshold, set the others to zero, and renormalise nothing.

    The query function of the paper (between Eq. 8 and 9; Algorithm 1, line 16). Equality with the
    threshold is decided within 4 units in the last place of the weights' dtype, so that a uniform
    batch survives whole for every C (at C = 3 a plain ``>=`` in float32 drops all of it).

    Args:
        threshold: Weight from which a sample is kept. ``None``: ``1/N``, N the number of weights
            in *this* batch.

    Raises:
        ValueError: If ``threshold`` is negative or not finite.

    Example:
        >>> import torch
        >>> from reweight import Rectify
        >>> Rectify()(torch.tensor([0.5, 0.3, 0.2]))  # 1/3 and more stay
        tensor([0.5000, 0.0000, 0.0000])
        >>> Rectify(0.25)(torch.tensor([0.5, 0.3, 0.2]))
        tensor([0.5000, 0.3000, 0.0000])
    """

    def __init__(self, threshold: float | None = None) -> None:
        if threshold is not None and not 0 <= threshold < float("inf"):
            raise ValueError(
                f"threshold must be a finite number >= 0, or None for 1/N; got {threshold!r}."
            )
        self.threshold = threshold

    def __call__(self, weights: Tensor) -> Tensor:
        """Return ``weights``, of any shape, with those below the threshold set to zero."""
        scale = weights.numel() if self.threshold is None else 1.0
        threshold = 1.0 if self.threshold is None else self.threshold
        tolerance = _ULPS * torch.finfo(weights.dtype).eps
        kept = at_least_float32(weights) * scale >= threshold * (1 - tolerance)
        return torch.where(kept, weights, torch.zeros_like(weights))

    def __repr__(self) -> str:
        return f"Rectify({'' if self.threshold is None else self.threshold})"
