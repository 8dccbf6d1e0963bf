"""Scorers: what to make of each sample of a batch.

A scorer is any callable that takes a :class:`~reweight.ScoringContext` and returns one score per
sample, ``(C,)``, of any sign. Deriving from :class:`Scorer` adds arithmetic;
nothing else is needed.
"""

from __future__ import annotations

from reweight.scorers.gradient_similarity import GradientSimilarity
from reweight.scorers.last_layer_gradient import LastLayerGradient
from reweight.scorers.loss_magnitude import LossMagnitude
from reweight.scorers.mixture import Mixture, Scorer, ScorerLike, as_mixture, as_scorer
from reweight.scorers.random_weights import RandomWeights
from reweight.scorers.uniform import Uniform

__all__ = [
    "GradientSimilarity",
    "LastLayerGradient",
    "LossMagnitude",
    "Mixture",
    "RandomWeights",
    "Scorer",
    "ScorerLike",
    "Uniform",
    "as_mixture",
    "as_scorer",
]
