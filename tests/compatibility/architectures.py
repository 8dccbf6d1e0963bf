"""Small architectures, written here: of kinds that no framework is needed for."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence


class Recurrent(nn.Module):
    def __init__(self, cell: type[nn.Module]) -> None:
        super().__init__()
        self.embedding = nn.Embedding(11, 6)
        self.cell = cell(6, 5, num_layers=2, batch_first=True, bidirectional=True)
        self.head = nn.Linear(10, 3)

    def forward(self, words: Tensor) -> Tensor:
        return self.head(self.cell(self.embedding(words))[0].mean(1))


class Packed(nn.Module):
    """Sequences of different lengths, packed."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(11, 6)
        self.cell = nn.GRU(6, 5, batch_first=True)
        self.head = nn.Linear(5, 3)

    def forward(self, words: Tensor, lengths: Tensor) -> Tensor:
        packed: PackedSequence = pack_padded_sequence(
            self.embedding(words), lengths.cpu(), batch_first=True, enforce_sorted=False
        )
        return self.head(self.cell(packed)[1][0])


class MixtureOfExperts(nn.Module):
    """Each row goes to its two best experts; those that get none run on no rows."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Linear(6, 4)
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Linear(6, 8), nn.GELU(), nn.Linear(8, 6)) for _ in range(4)
        )
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        share, chosen = self.gate(x).softmax(-1).topk(2, dim=-1)
        out = torch.zeros_like(x)
        for number, expert in enumerate(self.experts):
            rows, place = (chosen == number).nonzero(as_tuple=True)
            out = out.index_add(0, rows, share[rows, place].unsqueeze(1) * expert(x[rows]))
        return self.head(x + out)


class Denoiser(nn.Module):
    """A U-Net with a time embedding, as in diffusion: it foretells the noise in an image."""

    def __init__(self) -> None:
        super().__init__()
        self.time = nn.Sequential(nn.Linear(8, 8), nn.SiLU(), nn.Linear(8, 8))
        self.down = nn.Conv2d(1, 4, 3, padding=1)
        self.low = nn.Conv2d(4, 8, 3, stride=2, padding=1)
        self.norm = nn.GroupNorm(2, 8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.up = nn.Conv2d(12, 4, 3, padding=1)
        self.out = nn.Conv2d(4, 1, 1)

    def forward(self, image: Tensor, time: Tensor) -> Tensor:
        angles = time.unsqueeze(1) * torch.arange(1, 5, device=time.device)
        moment = self.time(torch.cat([angles.sin(), angles.cos()], 1))
        high = F.silu(self.down(image))
        low = F.silu(self.norm(self.low(high)) + moment[:, :, None, None])
        tokens = low.flatten(2).transpose(1, 2)
        low = low + self.attention(tokens, tokens, tokens)[0].transpose(1, 2).reshape(low.shape)
        low = F.interpolate(low, scale_factor=2.0)
        return self.out(F.silu(self.up(torch.cat([high, low], 1))))


class Tabular(nn.Module):
    """Categories and numbers, batch normalisation, dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.categories = nn.Embedding(7, 4)
        self.numbers = nn.BatchNorm1d(5)
        self.body = nn.Sequential(
            nn.Linear(9, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Dropout(0.3), nn.Linear(12, 8)
        )
        self.head = nn.Linear(8, 3)

    def forward(self, category: Tensor, numbers: Tensor) -> Tensor:
        joined = torch.cat([self.categories(category), self.numbers(numbers)], 1)
        return self.head(F.relu(self.body(joined)))


class GraphConvolution(nn.Module):
    """Sums over neighbours; the samples are the nodes of one graph, which all depend on others."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 8)
        self.second = nn.Linear(8, 3)

    def forward(self, nodes: Tensor, edges: Tensor) -> Tensor:
        return spread(self.second(F.relu(spread(self.first(nodes), edges))), edges)


class GraphAttention(nn.Module):
    """Several small graphs in one batch, pooled: one sample a graph."""

    def __init__(self) -> None:
        super().__init__()
        self.project = nn.Linear(4, 8)
        self.score = nn.Linear(16, 1)
        self.head = nn.Linear(8, 3)

    def forward(self, nodes: Tensor, edges: Tensor, graph: Tensor) -> Tensor:
        hidden, (source, target) = self.project(nodes), edges
        pairs = torch.cat([hidden[source], hidden[target]], 1)
        score = F.leaky_relu(self.score(pairs)).squeeze(1).exp()
        total = score.new_zeros(len(nodes)).index_add(0, target, score)
        share = (score / total[target]).unsqueeze(1)
        hidden = torch.zeros_like(hidden).scatter_add(
            0, target.unsqueeze(1).expand(-1, 8), share * hidden[source]
        )
        pooled = hidden.new_zeros(int(graph.max()) + 1, 8).index_add(0, graph, F.elu(hidden))
        return self.head(pooled)


def spread(values: Tensor, edges: Tensor) -> Tensor:
    source, target = edges
    return values + torch.zeros_like(values).index_add(0, target, values[source])


class NamedTwice(nn.Module):
    """One layer under two names, and one three times in a list."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Linear(6, 6)
        self.body = nn.Sequential(self.stem, nn.Tanh())
        self.repeated = nn.ModuleList([nn.Linear(6, 6)] * 3)
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.body(self.stem(x))
        for layer in self.repeated:
            x = layer(x).sin()
        return self.head(x)
