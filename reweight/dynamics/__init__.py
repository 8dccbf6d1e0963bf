"""What a training says of each sample, gathered while it runs, and the labels that look wrong."""

from __future__ import annotations

from reweight.dynamics.label_issues import LabelIssue, LabelIssues
from reweight.dynamics.training_dynamics import TrainingDynamics

__all__ = ["LabelIssue", "LabelIssues", "TrainingDynamics"]
