from __future__ import annotations

import pytest
import torch

from benchmarks.errors import UserError
from benchmarks.seeding import balanced_batches, batches, generator
from benchmarks.sets.splits import split

LABELS = torch.arange(3).repeat(40)


def draw(trusted=6, seed=0, pool=(20, 10, 5)):
    return split(LABELS, pool, validation=9, trusted=trusted, seed=seed)


def test_sets_are_disjoint_and_stratified():
    parts = draw()
    everything = torch.cat([parts.validation, parts.pool, parts.trusted])
    assert len(everything.unique()) == len(everything) == 9 + 35 + 6
    assert LABELS[parts.validation].bincount().tolist() == [3, 3, 3]
    assert LABELS[parts.pool].bincount().tolist() == [20, 10, 5]
    assert LABELS[parts.trusted].bincount().tolist() == [2, 2, 2]


def test_the_rest_is_the_same_for_every_trusted_size():
    none, small, large = draw(None), draw(6), draw(12)
    for parts in (small, large):
        assert torch.equal(none.pool, parts.pool)
        assert torch.equal(none.validation, parts.validation)
    assert len(none.trusted) == 0
    assert set(small.trusted.tolist()) < set(large.trusted.tolist())


def test_it_depends_on_the_seed_alone():
    first = draw(seed=3)
    torch.rand(7)
    assert torch.equal(first.pool, draw(seed=3).pool)
    assert not torch.equal(first.pool, draw(seed=4).pool)


def test_too_few_images():
    with pytest.raises(UserError, match="class 0 has 40 training images, but 41 are needed"):
        draw(pool=(36, 1, 1))
    with pytest.raises(UserError, match="--trusted 7"):
        draw(trusted=7)


def test_batches_go_round_all_samples():
    stream = batches(10, 4, generator(0, "test"))
    rounds = torch.cat([next(stream) for _ in range(5)]).split(10)
    assert [sorted(r.tolist()) for r in rounds] == [list(range(10))] * 2
    assert not torch.equal(*rounds)


def test_a_small_set_is_whole_in_every_batch():
    stream = batches(3, 8, generator(0, "test"))
    assert [sorted(next(stream).tolist()) for _ in range(3)] == [[0, 1, 2]] * 3


def test_balanced_batches_have_rare_classes_as_often_as_frequent_ones():
    labels = torch.tensor([0] * 90 + [1] * 8 + [3] * 2)
    stream = balanced_batches(labels, 50, generator(0, "test"))
    drawn = labels[torch.cat([next(stream) for _ in range(60)])].bincount(minlength=4)
    assert drawn[2] == 0
    assert (drawn[[0, 1, 3]] - 1000).abs().max() < 5 * (3000 * 2 / 9) ** 0.5
    assert len(next(balanced_batches(labels[:7], 50, generator(0, "test")))) == 7
