"""UA-MT: a mean teacher whose uncertain voxels do not count (Yu et al. 2019)."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from examples.covid3d.methods.rivals.mean_teacher import MeanTeacher
from examples.covid3d.methods.rivals.uncertainty import (
    ask,
    consistency_loss,
    consistency_weight,
    uncertainty_threshold,
)
from examples.covid3d.train.lesson import EXPERT, PSEUDO, Lesson
from examples.covid3d.train.loss import combo_loss
from examples.covid3d.train.training import Outcome, Recipe


class UncertaintyAware(Recipe):
    """Combo loss on all expert scans, consistency with the mean teacher on the unlabelled ones.

    The labelled and the unlabelled batch go through the student together, half and half as in the
    original. Its supervised loss is (cross-entropy + Dice) / 2, here the combo loss as for every
    row. Crops of unlabelled scans are drawn where the teacher's pseudo-labels see foreground, as
    they are for every row; the labels themselves are not used.

    Args:
        lesson: The replicate.
        model: The student, which is what is evaluated.
    """

    def __init__(self, lesson: Lesson, model: nn.Module) -> None:
        self._model, self._device, self._seed = model, lesson.device, lesson.seed
        self._steps = lesson.whole_length().steps
        self._labelled = lesson.sampler(lesson.expert_scans(), EXPERT)
        self._unlabelled = lesson.sampler(lesson.pseudo_scans(), PSEUDO)
        self._teacher = MeanTeacher(model, training=True)
        # The original's noise is for images of standard deviation 1; in [0, 1] it is a quarter.
        scale = 1.0 if lesson.config.intensity == "zscore" else 0.25
        self._std, self._bound = 0.1 * scale, 0.2 * scale

    def __call__(self, step: int) -> Outcome:
        """Draws both batches of ``step``."""
        images, masks = self._labelled.draw(step).pair(self._device)
        others, _ = self._unlabelled.draw(step).pair(self._device)
        self.waited = self._labelled.waited + self._unlabelled.waited
        logits, free = self._model(torch.cat([images, others])).split([len(images), len(others)])
        supervised = combo_loss(logits, masks).mean()
        # Seeded by the step, so that a resumed training draws what it would have drawn.
        generator = torch.Generator().manual_seed(self._seed * 1_000_003 + step)
        answer = ask(self._teacher, others, generator, std=self._std, bound=self._bound)
        certain = answer.uncertainty < uncertainty_threshold(step, self._steps)
        consistency = consistency_loss(free, answer.target, certain)
        weight = consistency_weight(step, self._steps)
        return Outcome(
            supervised + weight * consistency,
            row={
                "mean_loss": float(supervised.detach()),
                "consistency": float(consistency.detach()),
                "certain": float(certain.float().mean()),
            },
        )

    def after_step(self, step: int) -> None:
        """The teacher follows."""
        del step
        self._teacher.update(self._model)

    def state_dict(self) -> dict[str, Any]:
        """The mean teacher."""
        return self._teacher.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes the mean teacher back."""
        self._teacher.load_state_dict(state)
