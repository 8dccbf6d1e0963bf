"""Models and batches for two ranks, and what plain autograd says of a step on both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from reweight import GradientSimilarity, LastLayerGradient, LossMagnitude
from tests import oracle

COUNT, SIDE, CLASSES = 6, 5, 3
LOSS = nn.CrossEntropyLoss(reduction="none")

Forward = Callable[[nn.Module, Any], Tensor]


class Plain(nn.Module):
    """Two layers."""

    last = "b"

    def __init__(self) -> None:
        super().__init__()
        self.a, self.norm, self.b = nn.Linear(SIDE, 8), nn.LayerNorm(8), nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(torch.tanh(self.norm(self.a(x))))


class Normalised(nn.Sequential):
    """Batch normalisation couples the samples, and has buffers."""

    last = "3"

    def __init__(self) -> None:
        super().__init__(nn.Linear(SIDE, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, CLASSES))


class Unused(Plain):
    """One layer never runs."""

    def __init__(self) -> None:
        super().__init__()
        self.never = nn.Linear(2, 2)


class Checkpointed(Plain):
    """The backward pass runs a part of the forward pass again."""

    def forward(self, x: Tensor) -> Tensor:
        again = torch.utils.checkpoint.checkpoint
        return self.b(again(lambda y: torch.tanh(self.norm(self.a(y))), x, use_reentrant=False))


class Dropped(Plain):
    """Random numbers in the forward pass."""

    def forward(self, x: Tensor) -> Tensor:
        return self.b(nn.functional.dropout(torch.tanh(self.norm(self.a(x))), 0.3, self.training))


class Routed(Plain):
    """The batch says by which head it goes."""

    def __init__(self) -> None:
        super().__init__()
        self.heads = nn.ModuleList(nn.Linear(8, 8) for _ in range(3))

    def forward(self, x: Tensor, head: int) -> Tensor:
        return self.b(torch.tanh(self.heads[head](torch.tanh(self.a(x))) + self.norm(self.a(x))))


class WrappedInside(nn.Module):
    """An encoder of several ranks in a model that is otherwise the user's own."""

    last = "b"

    def __init__(self, **options: Any) -> None:
        super().__init__()
        inside = nn.Sequential(nn.Linear(SIDE, 8), nn.BatchNorm1d(8), nn.Tanh())
        self.encoder: nn.Module = inside
        self.b = nn.Linear(8, CLASSES)
        self.options = options

    def wrap(self) -> None:
        self.encoder = nn.parallel.DistributedDataParallel(self.encoder, **self.options)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.encoder(x))


@dataclass
class Output:
    """Not a container that DDP looks into when it leads outputs through its own function."""

    logits: Tensor
    extra: Tensor


class Nested(Plain):
    """Returns what its `kind` says, of which the loss uses some."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, x: Tensor) -> Any:
        inside = torch.tanh(self.norm(self.a(x)))
        logits = self.b(inside)
        if self.kind == "dict":
            return {"extra": inside, "count": len(x), "logits": logits}
        if self.kind == "tuple":
            return x, (inside, [logits])
        return Output(logits, inside)


def loss_of_nested(model: nn.Module, batch: Any) -> Tensor:
    output = model(batch[0])
    if isinstance(output, dict):
        return LOSS(output["logits"], batch[1])
    if isinstance(output, tuple):
        (inside, (logits,)) = output[1]
        return LOSS(logits, batch[1]) + 0.1 * inside.square().mean(dim=1)
    return LOSS(output.logits, batch[1])


def supervised(model: nn.Module, batch: Any) -> Tensor:
    inputs = batch[0]
    return LOSS(model(**inputs) if isinstance(inputs, dict) else model(inputs), batch[1])


def made(kind: Callable[..., nn.Module], *arguments: Any) -> nn.Module:
    """The same model, in float64, on every rank."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        torch.manual_seed(8)
        return kind(*arguments)
    finally:
        torch.set_default_dtype(before)


def batches(seed: int, heads: tuple[int, int] | None = None) -> tuple[Any, Any]:
    """A noisy and a trusted batch, others on each rank and for each seed."""
    return batches_of(dist.get_rank(), seed, heads)


def batches_of(rank: int, seed: int, heads: tuple[int, int] | None = None) -> tuple[Any, Any]:
    random = torch.Generator().manual_seed(100 * seed + rank)
    found: list[Any] = []
    for which in range(2):
        x = torch.randn(COUNT, SIDE, generator=random, dtype=torch.float64)
        y = torch.randint(0, CLASSES, (COUNT,), generator=random)
        found.append(((x if heads is None else {"x": x, "head": heads[which]}), y))
    return found[0], found[1]


SCORERS: dict[str, Callable[[], Any]] = {
    "default": lambda: None,
    "similarity": GradientSimilarity,
    "double_backward": lambda: GradientSimilarity("double_backward"),
    "unrolled": lambda: GradientSimilarity("unrolled"),
    "last_layer": LastLayerGradient,
    "loss": LossMagnitude,
}


def expected_weights(
    scorer: str, model: nn.Module, forward: Forward, noisy: Any, trusted: Any
) -> Tensor:
    """The weights by one plain backward pass a sample."""

    def share(scores: Tensor) -> Tensor:
        positive = scores.detach().clamp(min=0)
        return positive / positive.sum()

    last = getattr(model, "last", "b")
    if scorer == "loss":
        with oracle.undisturbed(model):
            return share(forward(model, noisy))
    if scorer == "last_layer":
        return share(oracle.last_layer_norms(model, forward, noisy, last))
    similar = oracle.gradient_similarity(model, forward, noisy, trusted)
    if scorer != "default":
        return share(similar)
    norms = oracle.last_layer_norms(model, forward, noisy, last)
    return share(similar / (norms + 1e-3 * norms.square().mean().sqrt()))


def expected_gradient(
    weights: Tensor, beta: float, model: nn.Module, forward: Forward, noisy: Any, trusted: Any
) -> Tensor:
    """Of Σ w_i L_i + β L_v, the mean over the ranks, as one vector; zero where there is none."""
    parameters = list(oracle.trainable(model).values())
    with oracle.undisturbed(model):
        found = oracle.gradient((weights * forward(model, noisy)).sum(), parameters)
    if beta:
        found = found + beta * oracle.mean_gradient(model, forward, trusted)
    dist.all_reduce(found)
    return found / dist.get_world_size()


def gradient_of(model: nn.Module) -> Tensor:
    parameters = oracle.trainable(model).values()
    return oracle.flat([torch.zeros_like(p) if p.grad is None else p.grad for p in parameters])


def assert_equal_on_ranks(model: nn.Module) -> None:
    mine = oracle.flat([p.detach() for p in model.parameters()])
    other = [torch.empty_like(mine) for _ in range(dist.get_world_size())]
    dist.all_gather(other, mine)
    assert all(torch.equal(other[0], each) for each in other), "the ranks have parted"
