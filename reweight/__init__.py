"""Learn, at every training step, how much each training sample should count."""

from __future__ import annotations

from reweight._step.context import ScoringContext
from reweight._step.sample_losses import SampleLosses
from reweight.check_report import CheckReport, ScorerCheck
from reweight.errors import (
    NonFiniteError,
    UnguardedWriteError,
    UnknownParametersError,
    UnrepeatableError,
)
from reweight.labels import MendedLabels, SoftLabels
from reweight.meta_reweighter import MetaReweighter
from reweight.normalize import normalize
from reweight.scorers import (
    GradientSimilarity,
    LastLayerGradient,
    LossMagnitude,
    RandomWeights,
    Scorer,
    Uniform,
    as_scorer,
)
from reweight.selectors import KeepAll, Rectify, TopK
from reweight.step import ReweightedStep
from reweight.weightings import (
    EqualWeights,
    GroupWeights,
    PerBatch,
    SampleWeights,
    Weighting,
    WeightingContext,
)

__version__ = "0.1.0"

__all__ = [
    "CheckReport",
    "EqualWeights",
    "GradientSimilarity",
    "GroupWeights",
    "KeepAll",
    "LastLayerGradient",
    "LossMagnitude",
    "MendedLabels",
    "MetaReweighter",
    "NonFiniteError",
    "PerBatch",
    "RandomWeights",
    "Rectify",
    "ReweightedStep",
    "SampleLosses",
    "SampleWeights",
    "Scorer",
    "ScorerCheck",
    "ScoringContext",
    "SoftLabels",
    "TopK",
    "UnguardedWriteError",
    "Uniform",
    "UnknownParametersError",
    "UnrepeatableError",
    "Weighting",
    "WeightingContext",
    "as_scorer",
    "normalize",
]
