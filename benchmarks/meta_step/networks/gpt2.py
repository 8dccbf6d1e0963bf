"""GPT-2 (Radford et al. 2019), at any size."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from typing_extensions import override

from benchmarks.meta_step.networks.transformer import Attention


class Block(nn.Module):
    """A pre-norm block, its hidden layer four times as wide; no dropout."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.norm_1 = nn.LayerNorm(dim)
        self.attention = Attention(dim, heads, causal=True)
        self.norm_2 = nn.LayerNorm(dim)
        self.widen = nn.Linear(dim, 4 * dim)
        self.activation = nn.GELU(approximate="tanh")
        self.narrow = nn.Linear(4 * dim, dim)

    @override
    def forward(self, tokens: Tensor) -> Tensor:
        """Map (C, T, dim) tokens to (C, T, dim)."""
        tokens = tokens + self.attention(self.norm_1(tokens))
        mapped: Tensor = self.narrow(self.activation(self.widen(self.norm_2(tokens))))
        return tokens + mapped


class GPT2(nn.Module):
    """A causal language model with learnt positions, its output embedding tied to the input's.

    Args:
        words: Size of the vocabulary.
        length: Longest sequence.
        dim: Features of a token, a multiple of ``heads``.
        depth: Number of blocks.
        heads: Heads of each block.
    """

    def __init__(
        self, words: int, length: int, dim: int = 128, depth: int = 2, heads: int = 4
    ) -> None:
        super().__init__()
        self.words = nn.Embedding(words, dim)
        self.positions = nn.Embedding(length, dim)
        self.blocks = nn.ModuleList(Block(dim, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, words, bias=False)
        self.head.weight = self.words.weight
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)

    @override
    def forward(self, words: Tensor) -> Tensor:
        """Map (C, T) word numbers to (C, T, words) logits of the next ones."""
        places = torch.arange(words.shape[1], device=words.device)
        tokens = self.words(words) + self.positions(places)
        for block in self.blocks:
            tokens = block(tokens)
        logits: Tensor = self.head(self.norm(tokens))
        return logits
