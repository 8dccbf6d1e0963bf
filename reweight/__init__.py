"""Learn, at every training step, how much each training sample should count."""

from __future__ import annotations

from reweight._step.context import ScoringContext
from reweight.check_report import CheckReport, ScorerCheck
from reweight.dynamics import LabelIssue, LabelIssues, TrainingDynamics
from reweight.errors import (
    NonFiniteError,
    OtherRankError,
    UnguardedWriteError,
    UnknownParametersError,
    UnrepeatableError,
)
from reweight.meta_reweighter import MetaReweighter
from reweight.normalize import normalize
from reweight.paired import Paired, paired
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
    GroupWeights,
    PerBatch,
    SampleWeights,
    Weighting,
    WeightingContext,
    WeightNet,
)

__version__ = "0.1.0"

__all__ = [
    "CheckReport",
    "GradientSimilarity",
    "GroupWeights",
    "KeepAll",
    "LabelIssue",
    "LabelIssues",
    "LastLayerGradient",
    "LossMagnitude",
    "MetaReweighter",
    "NonFiniteError",
    "OtherRankError",
    "Paired",
    "PerBatch",
    "RandomWeights",
    "Rectify",
    "ReweightedStep",
    "SampleWeights",
    "Scorer",
    "ScorerCheck",
    "ScoringContext",
    "TopK",
    "TrainingDynamics",
    "UnguardedWriteError",
    "Uniform",
    "UnknownParametersError",
    "UnrepeatableError",
    "WeightNet",
    "Weighting",
    "WeightingContext",
    "as_scorer",
    "normalize",
    "paired",
]
