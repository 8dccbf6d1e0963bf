"""Names for the types of what a user may pass, for annotations.

Nothing has to derive from any of them: a plain function of the right shape is enough.
"""

from __future__ import annotations

from reweight._isolation.objective import Parameters
from reweight._step.batches import Forward, Loss
from reweight._step.losses import Granularity
from reweight._step.parameter_selection import ParameterSelection
from reweight.errors import BatchName
from reweight.lookahead import Lookahead, LookaheadLike
from reweight.meta_reweighter import OnEmpty, OnNonfinite, Sync
from reweight.scorers import ScorerLike
from reweight.scorers.gradient_similarity import SimilarityMethod
from reweight.selectors import Selector
from reweight.weightings import WeightingLike
from reweight.weightings.features import Feature

__all__ = [
    "BatchName",
    "Feature",
    "Forward",
    "Granularity",
    "Lookahead",
    "LookaheadLike",
    "Loss",
    "OnEmpty",
    "OnNonfinite",
    "ParameterSelection",
    "Parameters",
    "ScorerLike",
    "Selector",
    "SimilarityMethod",
    "Sync",
    "WeightingLike",
]
