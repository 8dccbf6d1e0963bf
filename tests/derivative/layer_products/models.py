"""Models that keep their samples apart in ways that `tests.problems` has not."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.problems import CLASSES, Case, batches, classified, cross_entropy, float64, tokens

MORE: dict[str, Callable[[], Case]] = {}


def more(function: Callable[[], Case]) -> Callable[[], Case]:
    def make() -> Case:
        with float64():
            return function()

    MORE[function.__name__] = make
    return make


class Language(nn.Module):
    """Positions are looked up once for the whole batch, and the head shares the embedding."""

    def __init__(self, words: int = 7, length: int = 6) -> None:
        super().__init__()
        self.words, self.positions = nn.Embedding(words, 8), nn.Embedding(length, 8)
        self.norm = nn.LayerNorm(8)
        self.mix = nn.MultiheadAttention(8, 2, batch_first=True)
        self.head = nn.Linear(8, words, bias=False)
        self.head.weight = self.words.weight

    def forward(self, x: Tensor) -> Tensor:
        h = self.words(x) + self.positions(torch.arange(x.shape[1]))
        mask = nn.Transformer.generate_square_subsequent_mask(x.shape[1])
        n = self.norm(h)
        h = h + self.mix(n, n, n, attn_mask=mask, need_weights=False)[0]
        return self.head(h).transpose(1, 2)


@more
def language() -> Case:
    data = batches(lambda n: (torch.randint(7, (n, 6)), torch.randint(7, (n, 6))))
    return Case(Language(), last="head", loss=cross_entropy, **data)


@more
def as_many_positions_as_samples() -> Case:
    """Shapes cannot tell a table of positions from a batch."""
    data = batches(lambda n: (torch.randint(7, (n, 5)), torch.randint(7, (n, 5))))
    return Case(Language(length=5), last="head", loss=cross_entropy, **data)


class Vision(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(2, 8, 2, 2)
        self.first, self.place = (nn.Parameter(torch.randn(1, n, 8)) for n in (1, 10))
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.1, norm_first=True)
        self.scale = nn.Parameter(torch.rand(8))
        self.head = nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        h = self.patch(x).flatten(2).transpose(1, 2)
        h = torch.cat([self.first.expand(len(h), -1, -1), h], 1) + self.place
        h = self.layer(h.transpose(0, 1))  # time first
        return self.head(self.scale * h[0])


@more
def vision() -> Case:
    return Case(Vision(), last="head", loss=cross_entropy, **classified(2, 6, 6))


class Odd(nn.Module):
    """A temperature, a square of a weight, a matrix on the left, a weight of experts."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(6, 6)
        self.left = nn.Parameter(torch.randn(4, 6))
        self.experts = nn.Parameter(torch.randn(2, 4, 4))
        self.temperature = nn.Parameter(torch.tensor(1.3))
        self.prelu = nn.PReLU(4)
        self.norm = nn.RMSNorm(4)
        self.head = nn.Linear(4, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        h = (self.left.square() @ self.body(x).t()).t()
        h = torch.bmm(torch.stack([h, -h]), self.experts).sum(0)
        return self.head(self.norm(self.prelu(h) - self.left[:, 0])) / self.temperature.exp()


@more
def odd_uses() -> Case:
    return Case(Odd(), last="head", loss=cross_entropy, **classified(6))


class Padded(nn.Module):
    """The row of the padding gets no gradient as an embedding, and one as a row of the head."""

    def __init__(self, *, sparse: bool = False) -> None:
        super().__init__()
        self.words = nn.Embedding(7, 5, padding_idx=0, sparse=sparse)
        self.body = nn.Linear(5, 5)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.tanh(self.body(self.words(x))).mean(1)
        return h @ self.words.weight.t() if not self.words.sparse else h


@more
def padded() -> Case:
    return Case(Padded(), last="body", loss=cross_entropy, **tokens())


@more
def sparse() -> Case:
    return Case(Padded(sparse=True), last="body", loss=cross_entropy, **tokens())


class Frames(nn.Module):
    """Frames of a clip are samples of a convolution, and its mean is over them."""

    def __init__(self) -> None:
        super().__init__()
        self.frame = nn.Sequential(nn.Conv2d(1, 4, 3), nn.GroupNorm(2, 4), nn.SiLU())
        self.up = nn.ConvTranspose2d(4, 2, 2, 2, groups=2)
        self.head = nn.Linear(2, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        count, time = x.shape[:2]
        h = self.up(self.frame(x.flatten(0, 1))).amax((2, 3))
        return self.head(h.unflatten(0, (count, time)).mean(1))


@more
def frames() -> Case:
    return Case(Frames(), last="head", loss=cross_entropy, **classified(3, 1, 6, 6))


@more
def many_channels() -> Case:
    """Gradients of single samples would be too large: products of inputs and output gradients."""
    model = nn.Sequential(nn.Conv2d(12, 16, 3, padding=1), nn.Tanh(), nn.Flatten())
    model.append(nn.Linear(64, CLASSES))
    return Case(model, last="3", loss=cross_entropy, **classified(12, 2, 2))


class Grouped(nn.Module):
    """Instance normalisation, of which PyTorch makes a batch normalisation in train mode."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 4, 3)
        self.norm = nn.InstanceNorm2d(4, affine=True)
        self.head = nn.Linear(4, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.gelu(self.norm(self.first(x))).amax((2, 3)))


@more
def instance_norm() -> Case:
    return Case(Grouped(), last="head", loss=cross_entropy, **classified(2, 5, 5))


class LookedUp(nn.Module):
    """A loss depends on one other sample's input: what is looked up in is a weight like any."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(6, 8), nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.embedding(torch.arange(len(x)).flip(0), torch.tanh(self.body(x))))


@more
def looked_up_in_the_batch() -> Case:
    return Case(LookedUp(), last="head", loss=cross_entropy, **classified(6))
