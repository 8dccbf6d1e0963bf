"""Ways to find wrong labels, each from what a training leaves behind."""

from __future__ import annotations

from benchmarks.trials.finding.measures import Found, measure
from benchmarks.trials.finding.observer import Observer
from benchmarks.trials.finding.plain import PlainTraining
from benchmarks.trials.finding.recipe import RecipeTraining
from benchmarks.trials.finding.trusted_alone import TrustedAlone

__all__ = [
    "Found",
    "Observer",
    "PlainTraining",
    "RecipeTraining",
    "TrustedAlone",
    "measure",
]
