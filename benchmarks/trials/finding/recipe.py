"""Wrong labels as the library lists them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from typing_extensions import override

from benchmarks.sets.problem import Problem
from benchmarks.trials.finding.measures import Found
from benchmarks.trials.finding.observer import Observer
from reweight import TrainingDynamics

if TYPE_CHECKING:
    from benchmarks.trials.training import Training


class RecipeTraining(Observer):
    """``TrainingDynamics`` beside a training, and its list.

    Args:
        problem: The data.
        name: Of the list.
    """

    def __init__(self, problem: Problem, name: str) -> None:
        self._name = name
        self._labels = problem.pool[1]
        self._dynamics = TrainingDynamics(len(self._labels))
        self.options = {"dynamics": self._dynamics}

    @override
    def found(self, training: Training) -> dict[str, Found]:
        issues = self._dynamics.find_label_issues(self._labels)
        quality = torch.empty(len(self._labels), dtype=torch.float64)
        suggested = torch.empty_like(self._labels)
        quality[issues.id] = issues.label_quality.double()
        suggested[issues.id] = issues.parts["other_label"]
        return {self._name: Found(quality, suggested)}
