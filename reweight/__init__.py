"""Learn, at every training step, how much each training sample should count."""

from __future__ import annotations

from reweight._step.context import ScoringContext
from reweight._step.sample_losses import SampleLosses
from reweight.check_report import CheckReport, ScorerCheck
from reweight.dynamics import LabelIssue, LabelIssues, TrainingDynamics
from reweight.errors import (
    NonFiniteError,
    NotCompilableError,
    OtherRankError,
    UnguardedWriteError,
    UnknownParametersError,
    UnrepeatableError,
)
from reweight.labels import MendedLabels, SoftLabels
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
    EqualWeights,
    GroupWeights,
    PerBatch,
    SampleWeights,
    Weighting,
    WeightingContext,
    WeightNet,
)

__version__ = "0.2.0"

__all__ = [
    "CheckReport",
    "EqualWeights",
    "GradientSimilarity",
    "GroupWeights",
    "KeepAll",
    "LabelIssue",
    "LabelIssues",
    "LastLayerGradient",
    "LossMagnitude",
    "MendedLabels",
    "MetaReweighter",
    "NonFiniteError",
    "NotCompilableError",
    "OtherRankError",
    "Paired",
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
