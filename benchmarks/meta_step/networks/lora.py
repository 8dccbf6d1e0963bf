"""Low-rank adapters (Hu et al. 2021): nothing else trains."""

from __future__ import annotations

from collections.abc import Collection

from torch import Tensor, nn
from typing_extensions import override


class LoRALinear(nn.Module):
    """A frozen linear layer and a product of two thin ones.

    The second begins near zero and not at it, where the first would have no gradient: what is
    measured is any step but the very first.

    Args:
        base: The layer.
        rank: Of the product.
        alpha: The product counts ``alpha / rank`` times.
    """

    def __init__(self, base: nn.Linear, rank: int, alpha: float) -> None:
        super().__init__()
        self.base = base
        self.a = nn.Linear(base.in_features, rank, bias=False)
        self.b = nn.Linear(rank, base.out_features, bias=False)
        self.scale = alpha / rank
        nn.init.normal_(self.b.weight, std=0.02)

    @override
    def forward(self, inputs: Tensor) -> Tensor:
        """Map (..., in) to (..., out)."""
        mapped: Tensor = self.base(inputs) + self.b(self.a(inputs)) * self.scale
        return mapped


def add_lora(
    network: nn.Module, names: Collection[str], rank: int = 8, alpha: float = 16.0
) -> nn.Module:
    """Freeze ``network`` and give its linear layers of these names adapters; return it.

    Args:
        network: It is changed in place.
        names: Of the layers, within their modules.
        rank: Of the adapters.
        alpha: An adapter counts ``alpha / rank`` times.
    """
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    for module in list(network.modules()):
        for name, layer in list(module.named_children()):
            if name in names and isinstance(layer, nn.Linear):
                setattr(module, name, LoRALinear(layer, rank, alpha))
    return network
