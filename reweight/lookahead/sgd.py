"""Plain SGD, the paper's look-ahead, in closed form."""

from __future__ import annotations

from torch import nn

from reweight._isolation.objective import Parameters


class SGD:
    """θ̂ = θ − α G (Eq. 3). Its point at w = 0 is θ itself, and v = α ∇L_v(θ).

    Args:
        lr: α. It scales every score alike, so that g cancels it.

    Raises:
        ValueError: If ``lr`` is not positive.

    Example:
        >>> from reweight import GradientSimilarity
        >>> from reweight.lookahead import SGD
        >>> GradientSimilarity(lookahead=SGD(lr=0.1)).lookahead
        SGD(lr=0.1)
    """

    def __init__(self, lr: float = 1.0) -> None:
        if not 0 < lr < float("inf"):
            raise ValueError(f"lr must be a finite number > 0, got {lr!r}.")
        self.lr = lr

    def start(self, parameters: dict[str, nn.Parameter]) -> None:  # noqa: ARG002
        """Return no state: plain SGD has none."""
        return

    def update(
        self, parameters: Parameters, gradients: Parameters, state: None
    ) -> tuple[Parameters, None]:
        """Return θ − α G."""
        return {n: p - self.lr * gradients[n] for n, p in parameters.items()}, state

    def __repr__(self) -> str:
        return f"SGD(lr={self.lr})"
