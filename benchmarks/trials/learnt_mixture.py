"""The paper's mixture, its λ set on the fly by the trusted batch."""

from __future__ import annotations

import torch
from torch import Tensor

from reweight import WeightingContext, normalize


class LearntMixture:
    """w = λ g(a) + (1 − λ) g(b), with λ = σ(κ) and κ += rate · Σ z_i (g(a)_i − g(b)_i).

    That is the gradient of −L_v by λ, up to a constant: what setting λ by the trusted batch comes
    to, first-order like everything else.

    Args:
        rate: How fast κ moves.
    """

    relative = False
    needs_signed = True

    def __init__(self, rate: float = 0.1) -> None:
        self.rate = rate
        self.logit = torch.zeros(())

    @property
    def share(self) -> float:
        """λ, the share of similarity."""
        return float(torch.sigmoid(self.logit))

    def learn(self, context: WeightingContext) -> None:
        """Move λ towards the part that helps the trusted batch more."""
        similar, large = self._parts(context)
        self.logit = self.logit + self.rate * (context.score * (similar - large)).sum()

    def __call__(self, context: WeightingContext) -> Tensor:
        """Return ``(N,)`` weights."""
        similar, large = self._parts(context)
        share = torch.sigmoid(self.logit)
        return share * similar + (1 - share) * large

    def _parts(self, context: WeightingContext) -> tuple[Tensor, Tensor]:
        scores = context.scores
        return normalize(scores["gradient_similarity"]), normalize(scores["last_layer_gradient"])
