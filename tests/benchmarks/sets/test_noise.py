from __future__ import annotations

import itertools

import pytest
import torch

from benchmarks.errors import UserError
from benchmarks.sets.noise import (
    FASHION,
    confusions,
    corrupt,
    pool_counts,
    rarer_half,
    sources_of,
)

TRUTH = torch.arange(10).repeat_interleave(500)


@pytest.mark.parametrize("percent", [20, 40, 60])
def test_symmetric_noise_has_exactly_its_share(percent):
    labels = corrupt(f"symmetric-{percent}", TRUTH, 10, {}, seed=0)
    wrong = labels != TRUTH
    assert int(wrong.sum()) == 50 * percent
    shifts = ((labels - TRUTH) % 10)[wrong].bincount(minlength=10)
    assert shifts[0] == 0
    expected = 50 * percent / 9
    assert (shifts[1:] - expected).abs().max() < 5 * expected**0.5


def test_asymmetric_noise_is_of_the_pairs_alone():
    labels = corrupt("asymmetric-40", TRUTH, 10, FASHION, seed=0)
    counts = torch.zeros(10, 10, dtype=torch.long).index_put(
        (TRUTH, labels), torch.tensor(1), accumulate=True
    )
    for source in range(10):
        expected = [0] * 10
        expected[source] = 500
        if source in FASHION:
            expected[source], expected[FASHION[source]] = 300, 200
        assert counts[source].tolist() == expected


def test_confusions_of_other_data_go_round():
    assert confusions(3) == {0: 1, 1: 2, 2: 0}
    assert confusions(10) == FASHION


def test_each_source_has_its_own_share_of_wrong_labels():
    groups, names = sources_of("sources-10-70", len(TRUTH), seed=0)
    labels = corrupt("sources-10-70", TRUTH, 10, {}, 0, groups)
    wrong = labels != TRUTH
    assert names == ("10% wrong", "70% wrong")
    assert groups.bincount().tolist() == [2500, 2500]
    assert [int(wrong[groups == g].sum()) for g in (0, 1)] == [250, 1750]
    assert sources_of("symmetric-40", len(TRUTH), seed=0) == (None, ())


def test_a_noise_that_there_is_not():
    with pytest.raises(ValueError, match="no such noise"):
        corrupt("loud-40", TRUTH, 10, {}, seed=0)


def test_noise_depends_on_the_seed_alone_and_leaves_the_truth():
    before = TRUTH.clone()
    first = corrupt("symmetric-40", TRUTH, 10, {}, seed=1)
    torch.rand(3)
    assert torch.equal(first, corrupt("symmetric-40", TRUTH, 10, {}, seed=1))
    assert not torch.equal(first, corrupt("symmetric-40", TRUTH, 10, {}, seed=2))
    assert torch.equal(TRUTH, before)


def test_imbalance_keeps_labels():
    assert torch.equal(corrupt("imbalance-100", TRUTH, 10, {}, seed=0), TRUTH)


def test_imbalance_falls_exponentially_from_100_to_1():
    labels = torch.arange(10).repeat_interleave(6000)
    counts = pool_counts("imbalance-100", labels, 5000, 200, seed=0)
    ranked = sorted(counts, reverse=True)
    assert ranked[0] == 100 * ranked[-1]
    assert abs(sum(counts) - 5000) <= 0.5 * 248.3  # the total for one more of the smallest
    ratios = [a / b for a, b in itertools.pairwise(ranked)]
    assert ratios == pytest.approx([100 ** (1 / 9)] * 9, rel=0.03)
    assert counts != pool_counts("imbalance-100", labels, 5000, 200, seed=1)
    assert {counts[c] for c in rarer_half(counts)} == set(ranked[5:])


def test_imbalance_takes_no_more_than_there_is():
    labels = torch.arange(10).repeat_interleave(350)
    assert max(pool_counts("imbalance-100", labels, 5000, 40, seed=0)) == 300
    with pytest.raises(UserError, match="at least 100 images of each class"):
        pool_counts("imbalance-100", labels, 5000, 251, seed=0)


def test_other_pools_are_balanced():
    assert pool_counts("symmetric-20", TRUTH, 100, 0, seed=0) == [10] * 10
    with pytest.raises(UserError, match="multiple of 10"):
        pool_counts("symmetric-20", TRUTH, 101, 0, seed=0)
