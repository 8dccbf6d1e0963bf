"""Keep every weight: reweighting without active learning (rows RGS, RGM and RGS&M)."""

from __future__ import annotations

from torch import Tensor


class KeepAll:
    """Return the weights as they are."""

    def __call__(self, weights: Tensor) -> Tensor:
        """Return ``weights``, of any shape, unchanged."""
        return weights

    def __repr__(self) -> str:
        return "KeepAll()"
