"""Learning rate of each step, how many steps there are, and when a training is saturated."""

from __future__ import annotations

import math
from collections.abc import Sequence

from examples.covid3d.common.config import Config, Schedule

# The paper augments by flips along two axes: four volumes of each scan.
_FLIPS = 4
# A window that lowers the mean loss by less than this share is none the better for it.
_SATURATED = 1e-3
_SHORTEST_WINDOW = 100


def learning_rate(step: int, steps: int, initial: float, schedule: Schedule) -> float:
    """Learning rate of a step.

    Args:
        step: From 0.
        steps: Of the whole training.
        initial: Learning rate of step 0.
        schedule: ``constant``; ``cosine``, half a period down to 0; ``poly``, (1 - step/steps)^0.9.

    Returns:
        The rate, above 0 for every step before the last.
    """
    if schedule == "constant":
        return initial
    if schedule == "cosine":
        return initial * (1 + math.cos(math.pi * step / steps)) / 2
    return float(initial * (1 - step / steps) ** 0.9)


def steps_per_epoch(scans: int, config: Config) -> int:
    """Steps in which each of ``scans``, in each of its four flips, is drawn once on average."""
    return max(1, math.ceil(_FLIPS * scans / config.batch_size))


def window_of(epoch: int) -> int:
    """Steps over which the loss is averaged to judge it: an epoch, or more where that is short.

    The mean of a few patches says nothing.
    """
    return max(epoch, _SHORTEST_WINDOW)


def is_saturated(means: Sequence[float], patience: int | None) -> bool:
    """Whether the training loss has stopped falling.

    Args:
        means: Mean loss of every complete window so far.
        patience: Windows without a fall by 0.1 % of the lowest before; None for never.

    Returns:
        True if the last ``patience`` windows were such.
    """
    if patience is None:
        return False
    best, since = math.inf, 0
    for mean in means:
        if mean < best - _SATURATED * abs(best) or best == math.inf:
            best, since = mean, 0
        else:
            since += 1
    return since >= patience
