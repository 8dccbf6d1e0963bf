"""Llama (Touvron et al. 2023), at any size, with grouped queries."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import override

_BASE = 10_000.0


class RMSNorm(nn.Module):
    """Root-mean-square normalisation (Zhang & Sennrich 2019), operator by operator, in float32.

    As the public implementations write it; ``nn.RMSNorm`` is one operator.
    """

    def __init__(self, dim: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))
        self.eps = eps

    @override
    def forward(self, tokens: Tensor) -> Tensor:
        """Keep the shape."""
        wide = tokens if tokens.dtype == torch.float64 else tokens.float()
        wide = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + self.eps)
        return self.weight * wide.to(tokens.dtype)


def _half_turned(features: Tensor) -> Tensor:
    first, second = features.chunk(2, dim=-1)
    return torch.cat((-second, first), dim=-1)


def _rotated(features: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    return features * cos + _half_turned(features) * sin


class GroupedAttention(nn.Module):
    """Causal attention in which several query heads share a key and a value head.

    Args:
        dim: Features of a token, a multiple of ``heads``.
        heads: Number of query heads, a multiple of ``groups``.
        groups: Number of key and value heads.
    """

    def __init__(self, dim: int, heads: int, groups: int) -> None:
        super().__init__()
        self.each = dim // heads
        self.share = heads // groups
        self.q = nn.Linear(dim, dim, bias=False)
        self.k = nn.Linear(dim, groups * self.each, bias=False)
        self.v = nn.Linear(dim, groups * self.each, bias=False)
        self.o = nn.Linear(dim, dim, bias=False)

    @override
    def forward(self, tokens: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Map (C, T, dim) tokens to (C, T, dim); the angles are (T, dim of a head)."""
        query, key, value = (
            project(tokens).unflatten(-1, (-1, self.each)).transpose(1, 2)
            for project in (self.q, self.k, self.v)
        )
        query, key = _rotated(query, cos, sin), _rotated(key, cos, sin)
        key, value = self._repeated(key), self._repeated(value)
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        attended: Tensor = self.o(mixed.transpose(1, 2).flatten(-2))
        return attended

    def _repeated(self, heads: Tensor) -> Tensor:
        shape = (-1, -1, self.share, -1, -1)
        return heads[:, :, None].expand(*shape).flatten(1, 2)


class Block(nn.Module):
    """A pre-norm block with a SwiGLU (Shazeer 2020)."""

    def __init__(self, dim: int, heads: int, groups: int, hidden: int) -> None:
        super().__init__()
        self.norm_1 = RMSNorm(dim)
        self.attention = GroupedAttention(dim, heads, groups)
        self.norm_2 = RMSNorm(dim)
        self.gate = nn.Linear(dim, hidden, bias=False)
        self.up = nn.Linear(dim, hidden, bias=False)
        self.down = nn.Linear(hidden, dim, bias=False)

    @override
    def forward(self, tokens: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Map (C, T, dim) tokens to (C, T, dim)."""
        tokens = tokens + self.attention(self.norm_1(tokens), cos, sin)
        seen = self.norm_2(tokens)
        mapped: Tensor = self.down(F.silu(self.gate(seen)) * self.up(seen))
        return tokens + mapped


class Llama(nn.Module):
    """A causal language model with rotary positions (Su et al. 2021).

    Args:
        words: Size of the vocabulary.
        dim: Features of a token, a multiple of twice ``heads``.
        depth: Number of blocks.
        heads: Query heads of each block.
        groups: Key and value heads of each block.
        hidden: Width of the SwiGLU.
    """

    def __init__(
        self, words: int, dim: int, depth: int, heads: int, groups: int, hidden: int
    ) -> None:
        super().__init__()
        self.each = dim // heads
        self.words = nn.Embedding(words, dim)
        self.blocks = nn.ModuleList(Block(dim, heads, groups, hidden) for _ in range(depth))
        self.norm = RMSNorm(dim)
        self.head = nn.Linear(dim, words, bias=False)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)

    @override
    def forward(self, words: Tensor) -> Tensor:
        """Map (C, T) word numbers to (C, T, words) logits of the next ones."""
        tokens = self.words(words)
        cos, sin = self._angles(words.shape[1], tokens)
        for block in self.blocks:
            tokens = block(tokens, cos, sin)
        logits: Tensor = self.head(self.norm(tokens))
        return logits

    def _angles(self, length: int, like: Tensor) -> tuple[Tensor, Tensor]:
        steps = torch.arange(0, self.each, 2, device=like.device, dtype=torch.float32)
        places = torch.arange(length, device=like.device, dtype=torch.float32)
        angles = torch.outer(places, _BASE ** (-steps / self.each))
        angles = torch.cat((angles, angles), dim=-1)
        return angles.cos().to(like.dtype), angles.sin().to(like.dtype)
