"""Two ranks under Lightning's DDP train as they do in a plain loop, and never wait for ever."""

from __future__ import annotations

import io

import pytest
import torch

from tests.integrations import lightning_modules  # noqa: F401 - skips where there is no lightning
from tests.integrations import lightning_ranks as r


def same(mine: bytes, other: bytes, buffers: bool = True, rounding: float = 0.0) -> bool:
    """Buffers of two ranks differ, until DDP's next forward pass."""
    a, b = (torch.load(io.BytesIO(state)) for state in (mine, other))
    names = [name for name in a if buffers or name.endswith(("weight", "bias"))]
    return all(torch.allclose(a[n], b[n], rtol=0, atol=rounding) for n in names)


@pytest.mark.parametrize("manual", [False, True], ids=["automatic", "manual"])
@pytest.mark.parametrize(
    "strategy",
    [{}, {"find_unused_parameters": True}, {"static_graph": True}],
    ids=lambda given: next(iter(given), "ddp"),
)
def test_parameters_are_those_of_the_plain_loop_on_the_ranks(two_ranks, manual, strategy):
    # Of a graph that DDP is still learning no scores are taken: they come from a pass apart.
    rounding = 1e-6 if "static_graph" in strategy else 0.0
    first, second = two_ranks(r.compared, manual, strategy)
    for found in (first, second):
        # Under manual optimisation Lightning has DDP broadcast no buffers, whoever trains.
        assert same(found["mine"], found["plain"], not manual, rounding)
        assert same(found["mine"], first["mine"], buffers=False)
        assert not same(found["mine"], found["start"], buffers=False)


def test_a_rank_that_keeps_nothing_trains_with_the_other(two_ranks):
    first, second = two_ranks(r.keeping_nothing, (1,), "local")
    assert set(second["own"]) == {0}
    assert min(first["own"]) > 0
    assert min(second["kept"]) > 0
    assert same(first["mine"], first["plain"])
    assert same(first["mine"], second["mine"], buffers=False)
    assert not same(first["mine"], first["start"], buffers=False)


def test_where_no_rank_keeps_anything_no_parameter_moves(two_ranks):
    for found in two_ranks(r.keeping_nothing, (0, 1), "local"):
        assert same(found["mine"], found["start"], buffers=False)


def test_all_ranks_weigh_as_one(two_ranks):
    first, second = two_ranks(r.keeping_nothing, (), "global")
    assert same(first["mine"], first["plain"])
    assert same(first["mine"], second["mine"], buffers=False)


def test_lightning_divides_the_loaders_of_a_dict(two_ranks):
    first, second = two_ranks(r.with_a_dict_of_loaders)
    assert sorted(first + second) == list(range(24))


def test_a_pair_that_gives_every_rank_all_samples_is_refused(two_ranks):
    for said in two_ranks(r.undivided):
        assert "every one of 2 ranks would train on all noisy samples" in said
        assert "DistributedSampler" in said
