"""A small vision transformer (Dosovitskiy et al. 2020)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from typing_extensions import override

from benchmarks.meta_step.networks.transformer import Block


class ViT(nn.Module):
    """Patches, a class token, learnt positions, pre-norm blocks, a linear head.

    Args:
        side: Side of the images in pixels, a multiple of ``patch``.
        classes: Number of classes.
        patch: Side of a patch.
        dim: Features of a token, a multiple of ``heads``.
        depth: Number of blocks.
        heads: Heads of each block.
    """

    def __init__(
        self,
        side: int,
        classes: int,
        patch: int = 8,
        dim: int = 192,
        depth: int = 4,
        heads: int = 3,
    ) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, dim, patch, stride=patch)
        self.token = nn.Parameter(torch.randn(1, 1, dim) * 0.02)
        self.positions = nn.Parameter(torch.randn(1, (side // patch) ** 2 + 1, dim) * 0.02)
        self.blocks = nn.Sequential(*(Block(dim, heads) for _ in range(depth)))
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, classes)

    @override
    def forward(self, images: Tensor) -> Tensor:
        """Map (C, 3, side, side) images to (C, classes) logits."""
        tokens = self.patches(images).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(len(tokens), -1, -1), tokens], dim=1)
        tokens = self.norm(self.blocks(tokens + self.positions))
        logits: Tensor = self.head(tokens[:, 0])
        return logits
