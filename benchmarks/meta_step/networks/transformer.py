"""The small networks that no library is needed for."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override


class Attention(nn.Module):
    """Multi-head self-attention by the fused kernel.

    Args:
        dim: Features of a token, a multiple of ``heads``.
        heads: Number of heads.
        causal: Whether a token sees those so far alone.
    """

    def __init__(self, dim: int, heads: int, *, causal: bool = False) -> None:
        super().__init__()
        self.heads = heads
        self.causal = causal
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)

    @override
    def forward(self, tokens: Tensor) -> Tensor:
        """Map (C, T, dim) tokens to (C, T, dim)."""
        query, key, value = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in self.qkv(tokens).chunk(3, dim=-1)
        )
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=self.causal)
        attended: Tensor = self.out(mixed.transpose(1, 2).flatten(-2))
        return attended


class Block(nn.Module):
    """A pre-norm transformer block, its hidden layer four times as wide; no dropout."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.attend = nn.Sequential(nn.LayerNorm(dim), Attention(dim, heads))
        self.think = nn.Sequential(
            nn.LayerNorm(dim), nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim)
        )

    @override
    def forward(self, tokens: Tensor) -> Tensor:
        """Map (C, T, dim) tokens to (C, T, dim)."""
        tokens = tokens + self.attend(tokens)
        mapped: Tensor = tokens + self.think(tokens)
        return mapped


class Transformer(nn.Module):
    """An encoder that classifies sequences by the mean of their tokens.

    Args:
        words: Size of the vocabulary.
        classes: Number of classes.
        dim: Features of a token, a multiple of ``heads``.
        depth: Number of blocks.
        heads: Heads of each block.
    """

    def __init__(
        self, words: int, classes: int, dim: int = 128, depth: int = 4, heads: int = 4
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(words, dim)
        self.blocks = nn.Sequential(*(Block(dim, heads) for _ in range(depth)))
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, classes)

    @override
    def forward(self, words: Tensor) -> Tensor:
        """Map (C, T) word numbers to (C, classes) logits."""
        tokens = self.norm(self.blocks(self.embedding(words)))
        logits: Tensor = self.head(tokens.mean(1))
        return logits


def build_mlp(features: int, classes: int, width: int, depth: int) -> nn.Sequential:
    """Return ``depth`` hidden layers of ``width`` ReLUs and a linear one, no normalisation."""
    layers: list[nn.Module] = []
    for number in range(depth):
        layers += [nn.Linear(width if number else features, width), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(width if depth else features, classes))
