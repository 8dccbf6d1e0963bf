"""Keep every weight: reweighting without active learning (rows RGS, RGM and RGS&M)."""

from __future__ import annotations

from torch import Tensor


class KeepAll:
    """Return the weights as they are.

    Example:
        >>> import torch
        >>> from reweight import KeepAll
        >>> KeepAll()(torch.tensor([0.5, 0.3, 0.2]))
        tensor([0.5000, 0.3000, 0.2000])
    """

    def __call__(self, weights: Tensor) -> Tensor:
        """Return ``weights``, of any shape, unchanged."""
        return weights

    def __repr__(self) -> str:
        return "KeepAll()"
