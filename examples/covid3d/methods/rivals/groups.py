"""Semi-supervision by groups, after Inf-Net (Fan et al. 2020).

Unlabelled images are dealt at random into groups. A network trained on the labelled images labels
the first group, goes on training on both, labels the second, and so on until all are in.

Their public code has 320 groups of 5 slices and ten epochs for each, going on from the last
weights. With volumes there are hundreds of scans, not thousands of slices: here the number of
groups is given, and each phase gets the same share of the training steps. A group keeps the labels
that it got when it was added, as theirs does.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def deal_groups(names: Sequence[str], groups: int, seed: int) -> list[list[str]]:
    """Deals names into groups at random, as evenly as possible.

    Args:
        names: Different names, in any order: the groups depend on which names there are alone.
        groups: How many groups. With more groups than names, the last ones are empty.
        seed: Seed.

    Returns:
        ``groups`` lists, larger ones first; every name is in exactly one.

    Raises:
        ValueError: If a name occurs twice or there is not at least one group.
    """
    if groups < 1:
        raise ValueError(f"{groups} groups: at least one is needed")
    if len(set(names)) != len(names):
        raise ValueError("a name occurs more than once")
    ordered = sorted(names)
    dealt = [ordered[i] for i in np.random.default_rng(seed).permutation(len(ordered))]
    return [dealt[group::groups] for group in range(groups)]


def phase_of(step: int, steps: int, groups: int) -> int:
    """Which phase a training step is in: that is how many groups have been added.

    Args:
        step: Step, from 0.
        steps: Number of steps of the whole training.
        groups: Number of groups, K.

    Returns:
        0 (labelled data alone) to K (all groups added). The K + 1 phases are equally long, to
        within one step; with fewer than K + 1 steps some are left out.

    Raises:
        ValueError: If ``step`` is not in [0, steps) or ``groups`` is negative.
    """
    if not 0 <= step < steps:
        raise ValueError(f"step {step} is not in [0, {steps})")
    if groups < 0:
        raise ValueError(f"{groups} groups: expected none or more")
    return step * (groups + 1) // steps
