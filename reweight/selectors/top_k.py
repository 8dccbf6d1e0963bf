"""Keep the k largest weights."""

from __future__ import annotations

import math

import torch
from torch import Tensor


class TopK:
    """Keep the ``k`` largest weights, set the others to zero, and renormalise nothing.

    Args:
        k: How many to keep (an integer of at least 1), or which share of the batch (a float in
            (0, 1], rounded up).

    Raises:
        ValueError: If ``k`` is neither.

    Example:
        >>> import torch
        >>> from reweight import TopK
        >>> TopK(1)(torch.tensor([0.2, 0.5, 0.3]))
        tensor([0.0000, 0.5000, 0.0000])
        >>> TopK(0.5)(torch.tensor([0.2, 0.5, 0.3]))  # half of three, rounded up
        tensor([0.0000, 0.5000, 0.3000])
    """

    def __init__(self, k: int | float) -> None:
        share = isinstance(k, float)
        if isinstance(k, bool) or (share and not 0 < k <= 1) or (not share and k < 1):
            raise ValueError(
                f"k must be an integer >= 1 (how many) or a float in (0, 1] (which share), "
                f"got {k!r}."
            )
        self.k = k

    def __call__(self, weights: Tensor) -> Tensor:
        """Return ``weights``, of any shape, with all but the largest set to zero."""
        flat = weights.reshape(-1)
        count = flat.numel()
        # An exact product must not be rounded up: 0.1 * 30 is 3.0000000000000004.
        wanted = math.ceil(self.k * count - 1e-9) if isinstance(self.k, float) else self.k
        largest = flat.topk(min(wanted, count)).indices
        return torch.zeros_like(flat).scatter(0, largest, flat[largest]).reshape(weights.shape)

    def __repr__(self) -> str:
        return f"TopK({self.k})"
