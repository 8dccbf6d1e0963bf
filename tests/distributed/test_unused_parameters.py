"""Noisy and trusted batches that go by different ways through the model, under DDP."""

from __future__ import annotations

import pytest
import torch
from torch.nn.parallel import DistributedDataParallel

from reweight import MetaReweighter
from tests.comparing import assert_same
from tests.distributed import problems as p


def train(heads_of_rank: list[tuple[int, int]], mode: str, beta: float, scorer: str) -> bool:
    import torch.distributed as dist

    bare = p.made(p.Routed)
    wrapped = DistributedDataParallel(bare, **{mode: True} if mode else {})
    weigh = MetaReweighter(
        wrapped, forward=p.supervised, scorer=p.SCORERS[scorer](), trusted_coefficient=beta
    )
    optimizer = torch.optim.SGD(wrapped.parameters(), lr=0.1)
    for step in range(3):
        optimizer.zero_grad()
        noisy, trusted = p.batches(step, heads_of_rank[dist.get_rank()])
        weights = p.expected_weights(scorer, bare, p.supervised, noisy, trusted)
        gradient = p.expected_gradient(weights, beta, bare, p.supervised, noisy, trusted)
        found = weigh(noisy, trusted)
        assert_same(found.weights, weights, 1e-9)
        found.loss.backward()
        assert_same(p.gradient_of(bare), gradient, 1e-9)
        # What no rank has used keeps no gradient, so that no optimiser moves it.
        used = {head for pair in heads_of_rank for head in pair[: 2 if beta else 1]}
        for head, part in enumerate(bare.heads):
            has = part.weight.grad is not None and bool(part.weight.grad.any())
            assert has == (head in used)
        optimizer.step()
        p.assert_equal_on_ranks(bare)
    return weigh._objective.verdicts.can_be_followed


SAME = [(0, 0), (0, 0)]
TRUSTED_ELSEWHERE = [(0, 1), (0, 1)]
TRUSTED_ELSEWHERE_ON_ONE = [(0, 0), (0, 1)]
ALL_DIFFERENT = [(0, 1), (2, 0)]
ONE_EACH = [(0, 0), (1, 1)]


@pytest.mark.parametrize("scorer", ["default", "similarity", "last_layer", "loss"])
@pytest.mark.parametrize("beta", [0.0, 1.0])
@pytest.mark.parametrize(
    "heads",
    [SAME, TRUSTED_ELSEWHERE, TRUSTED_ELSEWHERE_ON_ONE, ALL_DIFFERENT, ONE_EACH],
    ids=["same", "trusted_elsewhere", "on_one", "all_different", "one_each"],
)
def test_what_the_trusted_term_alone_uses_is_not_taken_for_unused(two_ranks, heads, beta, scorer):
    assert two_ranks(train, heads, "find_unused_parameters", beta, scorer) == [True, True]


@pytest.mark.parametrize("beta", [0.0, 1.0])
@pytest.mark.parametrize("heads", [SAME, TRUSTED_ELSEWHERE], ids=["same", "trusted_elsewhere"])
def test_the_same_under_static_graph(two_ranks, heads, beta):
    two_ranks(train, heads, "static_graph", beta, "default")
