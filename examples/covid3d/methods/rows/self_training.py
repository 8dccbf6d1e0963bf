"""Self-training on confident pseudo-labels, after Chen et al. 2020."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from examples.covid3d.methods.rivals.selection import (
    class_thresholds,
    confident,
    leave_out,
    round_of,
)
from examples.covid3d.scans.store import write_labels
from examples.covid3d.train.lesson import EXPERT, PSEUDO, Lesson
from examples.covid3d.train.loader import Ahead
from examples.covid3d.train.loss import combo_loss
from examples.covid3d.train.training import Outcome, Recipe

_ROUNDS = 2
_SHARE = 0.8
_IGNORED = 2


class SelfTraining(Recipe):
    """Combo loss on all expert scans and on confident labels of the network's own.

    At the start of each of two rounds the network as it is then labels every unlabelled scan; of
    either class in a scan, the most certain 80 % of the voxels are learnt from. What the public
    description leaves open is listed in :mod:`examples.covid3d.methods.rivals.selection`.

    Args:
        lesson: The replicate.
        model: The student.
    """

    def __init__(self, lesson: Lesson, model: nn.Module) -> None:
        self._lesson, self._model = lesson, model
        self._steps = lesson.student_length().steps
        self._labels = lesson.folder / "labels"
        self._labelled = lesson.sampler(lesson.expert_scans(), EXPERT)
        self._others: Ahead | None = None
        self._round = -1

    def _draws(self) -> Ahead:
        folder = self._labels / str(self._round)
        return self._lesson.sampler(self._lesson.unlabelled_scans(folder), PSEUDO)

    def _label_all(self) -> None:
        for scan in self._lesson.unlabelled_scans():
            probability = self._lesson.probability(self._model, scan)
            labels, trusted = confident(probability, class_thresholds(probability, _SHARE))
            mask = torch.where(trusted, labels, torch.full_like(labels, _IGNORED)).numpy()
            write_labels(self._labels / str(self._round) / scan.name, mask.astype(np.uint8))

    def __call__(self, step: int) -> Outcome:
        """Renews the labels if a round begins, then draws both batches of ``step``."""
        now = round_of(step, self._steps, _ROUNDS)
        if now != self._round:
            self._round = now
            self._label_all()
            waited = self._others.waited if self._others is not None else 0.0
            self._others = self._draws()
            self._others.waited = waited
        assert self._others is not None
        self.final = now == _ROUNDS - 1
        images, masks = self._labelled.draw(step).pair(self._lesson.device)
        others, labels = self._others.draw(step).pair(self._lesson.device)
        self.waited = self._labelled.waited + self._others.waited
        supervised = combo_loss(self._model(images), masks).mean()
        pseudo = combo_loss(*_without_ignored(self._model(others), labels)).mean()
        return Outcome(
            supervised + pseudo,
            row={"mean_loss": float(supervised.detach()), "pseudo_loss": float(pseudo.detach())},
        )

    def state_dict(self) -> dict[str, Any]:
        """The round; its labels are on disk."""
        return {"round": self._round}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes back the round."""
        self._round = int(state["round"])
        self._others = self._draws()


def _without_ignored(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    return leave_out(logits, (labels == 1).long(), labels != _IGNORED)
