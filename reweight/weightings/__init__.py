"""Weightings: from the scores of a batch, and what is remembered, to weights.

A weighting is any callable that takes a :class:`~reweight.WeightingContext` and returns ``(N,)``
weights, none negative; they are divided by their sum. One that learns has ``learn(context)`` too.
"""

from __future__ import annotations

from reweight.weightings.context import WeightingContext
from reweight.weightings.equal_weights import EqualWeights
from reweight.weightings.group_weights import GroupWeights
from reweight.weightings.per_batch import PerBatch
from reweight.weightings.sample_weights import SampleWeights
from reweight.weightings.weight_net import WeightNet
from reweight.weightings.weighting import (
    LogitWeighting,
    Weighting,
    WeightingLike,
    as_weighting,
    part_of,
)

__all__ = [
    "EqualWeights",
    "GroupWeights",
    "LogitWeighting",
    "PerBatch",
    "SampleWeights",
    "WeightNet",
    "Weighting",
    "WeightingContext",
    "WeightingLike",
    "as_weighting",
    "part_of",
]
