"""A reweighter around a model that knows nothing of the other ranks says so, once."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch.nn.parallel import DistributedDataParallel

from reweight import LossMagnitude, MetaReweighter
from tests.distributed import problems as p
from tests.distributed.test_sharded import KINDS
from tests.distributed.test_tensor_parallel import TwoLayers, rows_after_columns


def said(make: Any, steps: int = 3) -> list[str]:
    """What a reweighter around what `make` returns warns of in some steps."""
    noisy, trusted = p.batches(0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        weigh = make()
        for _ in range(steps):
            if "sharded" not in make.__name__:
                weigh.score(noisy, trusted)
            weigh(noisy, trusted).loss.backward()
    torch.compiler.reset()  # or no training pass would be followed in this process any more
    return [str(w.message) for w in caught if "ranks" in str(w.message)]


def unwrapped() -> MetaReweighter:
    return MetaReweighter(p.made(p.Plain), p.LOSS)


def wrapped_too_late() -> MetaReweighter:
    model = p.made(p.Plain)
    weigh = MetaReweighter(model, p.LOSS)
    DistributedDataParallel(model)
    return weigh


def wrapped() -> MetaReweighter:
    return MetaReweighter(DistributedDataParallel(p.made(p.Plain)), p.LOSS)


def compiled_and_wrapped() -> MetaReweighter:
    model = torch.compile(DistributedDataParallel(p.made(p.Plain)), backend="eager")
    return MetaReweighter(model, p.LOSS)


def wrapped_inside() -> MetaReweighter:
    model = p.made(p.WrappedInside)
    model.wrap()
    return MetaReweighter(model, p.LOSS)


def sharded() -> MetaReweighter:
    return MetaReweighter(KINDS["fsdp2"](p.made(p.Plain)), p.LOSS, scorer=LossMagnitude())


def sharded_before() -> MetaReweighter:
    return MetaReweighter(KINDS["fsdp1"](p.made(p.Plain)), p.LOSS, scorer=LossMagnitude())


def tensor_parallel() -> MetaReweighter:
    return MetaReweighter(rows_after_columns(p.made(TwoLayers)), p.LOSS)


@pytest.mark.parametrize("make", [unwrapped, wrapped_too_late])
def test_it_is_said_once_at_the_first_training_step(two_ranks, make):
    for messages in two_ranks(said, make):
        assert len(messages) == 1
        assert "2 ranks" in messages[0]
        assert "prepare" in messages[0]


def only_scored() -> list[str]:
    noisy, trusted = p.batches(0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        unwrapped().score(noisy, trusted)
    return [str(w.message) for w in caught]


def test_to_score_alone_is_nothing_odd(two_ranks):
    assert two_ranks(only_scored) == [[], []]


@pytest.mark.parametrize(
    "make",
    [wrapped, compiled_and_wrapped, wrapped_inside, sharded, sharded_before, tensor_parallel],
)
def test_models_that_know_of_the_other_ranks_are_in_order(two_ranks, make):
    assert two_ranks(said, make) == [[], []]


def category() -> bool:
    with pytest.warns(UserWarning, match="before accelerator.prepare"):
        unwrapped()(*p.batches(0))
    return True


def test_it_is_a_user_warning(two_ranks):
    assert two_ranks(category) == [True, True]
