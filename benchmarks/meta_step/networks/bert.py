"""BERT (Devlin et al. 2018) that classifies, at any size."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

_EPS = 1e-12


class Attention(nn.Module):
    """Multi-head self-attention by the fused kernel, three projections, dropout of its weights.

    Args:
        dim: Features of a token, a multiple of ``heads``.
        heads: Number of heads.
        dropout: Share of the attention weights that is dropped.
    """

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.query = nn.Linear(dim, dim)
        self.key = nn.Linear(dim, dim)
        self.value = nn.Linear(dim, dim)
        self.out = nn.Linear(dim, dim)

    @override
    def forward(self, tokens: Tensor) -> Tensor:
        """Map (C, T, dim) tokens to (C, T, dim)."""
        query, key, value = (
            project(tokens).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for project in (self.query, self.key, self.value)
        )
        mixed = F.scaled_dot_product_attention(
            query, key, value, dropout_p=self.dropout if self.training else 0.0
        )
        attended: Tensor = self.out(mixed.transpose(1, 2).flatten(-2))
        return attended


class Layer(nn.Module):
    """A post-norm encoder layer, its hidden layer four times as wide."""

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.attention = Attention(dim, heads, dropout)
        self.norm_1 = nn.LayerNorm(dim, eps=_EPS)
        self.widen = nn.Linear(dim, 4 * dim)
        self.narrow = nn.Linear(4 * dim, dim)
        self.norm_2 = nn.LayerNorm(dim, eps=_EPS)
        self.dropout = nn.Dropout(dropout)

    @override
    def forward(self, tokens: Tensor) -> Tensor:
        """Map (C, T, dim) tokens to (C, T, dim)."""
        tokens = self.norm_1(tokens + self.dropout(self.attention(tokens)))
        hidden = F.gelu(self.widen(tokens))
        mapped: Tensor = self.norm_2(tokens + self.dropout(self.narrow(hidden)))
        return mapped


class Bert(nn.Module):
    """An encoder with a pooler and a classifier; words, positions and segments are embedded.

    Args:
        words: Size of the vocabulary.
        classes: Number of classes.
        length: Longest sequence.
        dim: Features of a token, a multiple of ``heads``.
        depth: Number of layers.
        heads: Heads of each layer.
        dropout: Of embeddings, attention weights, layers and pooled features.
    """

    def __init__(
        self,
        words: int,
        classes: int,
        length: int,
        dim: int = 128,
        depth: int = 2,
        heads: int = 2,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.words = nn.Embedding(words, dim, padding_idx=0)
        self.positions = nn.Embedding(length, dim)
        self.segments = nn.Embedding(2, dim)
        self.norm = nn.LayerNorm(dim, eps=_EPS)
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(Layer(dim, heads, dropout) for _ in range(depth))
        self.pooler = nn.Linear(dim, dim)
        self.classifier = nn.Linear(dim, classes)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)

    @override
    def forward(self, words: Tensor) -> Tensor:
        """Map (C, T) word numbers, all of the first segment, to (C, classes) logits."""
        places = torch.arange(words.shape[1], device=words.device)
        tokens = self.words(words) + self.positions(places)
        tokens = tokens + self.segments(torch.zeros_like(words))
        tokens = self.dropout(self.norm(tokens))
        for layer in self.layers:
            tokens = layer(tokens)
        pooled = torch.tanh(self.pooler(tokens[:, 0]))
        logits: Tensor = self.classifier(self.dropout(pooled))
        return logits
