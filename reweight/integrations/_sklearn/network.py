"""The network that is trained where none is given."""

from __future__ import annotations

import itertools

from torch import Tensor, nn


class MLP(nn.Module):
    """Fully connected layers for tables: ``(C, ...)`` numbers in, ``(C, num_classes)`` logits out.

    Args:
        num_features: How many numbers a row has.
        num_classes: How many classes there are.
        hidden: Units of a hidden layer.
        layers: How many hidden layers.
        dropout: The share of hidden units left out in training.

    Example:
        >>> import torch
        >>> MLP(4, 3, hidden=8)(torch.zeros(5, 4)).shape
        torch.Size([5, 3])
    """

    def __init__(
        self,
        num_features: int,
        num_classes: int,
        hidden: int = 64,
        layers: int = 2,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        sizes = [num_features, *[hidden] * layers]
        parts: list[nn.Module] = [nn.Flatten()]
        for before, after in itertools.pairwise(sizes):
            parts += [nn.Linear(before, after), nn.ReLU()]
            if dropout:
                parts.append(nn.Dropout(dropout))
        self.layers: nn.Sequential = nn.Sequential(*parts, nn.Linear(sizes[-1], num_classes))

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        logits: Tensor = self.layers(x)
        return logits
