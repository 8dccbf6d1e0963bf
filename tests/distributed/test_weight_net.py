"""A network that weighs learns the same on every rank: of the joint batch."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from reweight import GradientSimilarity, MetaReweighter, SampleWeights, WeightNet
from tests.comparing import assert_same
from tests.distributed import problems as p

ROWS, STEPS = 16, 5


def rows(rank: int, seed: int) -> torch.Tensor:
    stream = torch.Generator(device="cpu").manual_seed(1000 * seed + rank)
    return torch.randint(ROWS, (p.COUNT,), generator=stream, device="cpu")


def weighting() -> Any:
    features = ["remembered_loss", "margin", "class"]
    return SampleWeights(ROWS) + WeightNet(
        features=features, num_samples=ROWS, num_classes=p.CLASSES
    )


def tensors(state: Any) -> list[torch.Tensor]:
    if isinstance(state, torch.Tensor):
        return [state.double().flatten()]
    parts = state.values() if isinstance(state, dict) else state
    return [t for part in parts if isinstance(part, (dict, list, torch.Tensor))
            for t in tensors(part)]  # fmt: skip


def learnt(weigh: MetaReweighter) -> torch.Tensor:
    return torch.cat(tensors(weigh.state_dict()["weighting"]))


def train(sync: str) -> tuple[torch.Tensor, torch.Tensor]:
    """What was learnt on this rank, and the weights of the last step on all."""
    model = DistributedDataParallel(p.made(p.Plain))
    weigh = MetaReweighter(
        model, p.LOSS, scorer=GradientSimilarity(), weighting=weighting(), sync=sync
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for seed in range(STEPS):
        noisy, trusted = p.batches(seed)[0], p.batches_of(0, seed)[1]
        optimizer.zero_grad()
        step = weigh(noisy, trusted, ids=rows(dist.get_rank(), seed))
        step.loss.backward()
        optimizer.step()
    return learnt(weigh), step.weights


@pytest.mark.parametrize("sync", ["local", "global"])
def test_it_is_the_same_on_every_rank(two_ranks, sync):
    (first, _), (second, _) = two_ranks(train, sync)
    assert first.numel() > 100
    assert torch.equal(first, second)


def alone() -> tuple[torch.Tensor, torch.Tensor]:
    """The same on one process, with the joint noisy batch."""
    model: nn.Module = p.made(p.Plain)
    weigh = MetaReweighter(model, p.LOSS, scorer=GradientSimilarity(), weighting=weighting())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for seed in range(STEPS):
        pairs = [p.batches_of(rank, seed) for rank in range(2)]
        noisy = tuple(torch.cat([pair[0][part] for pair in pairs]) for part in range(2))
        trusted = pairs[0][1]
        optimizer.zero_grad()
        step = weigh(noisy, trusted, ids=torch.cat([rows(rank, seed) for rank in range(2)]))
        step.loss.backward()
        optimizer.step()
    return learnt(weigh), step.weights


def test_two_ranks_weigh_as_one_process_with_the_joint_batch(two_ranks):
    (found, first), (_, second) = two_ranks(train, "global")
    expected, weights = alone()
    assert_same(torch.cat([first, second]), weights, 1e-5)
    assert_same(found, expected, 1e-5)
