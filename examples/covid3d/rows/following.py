"""Students whose teacher follows them, with the experts' scans and weighted soft pseudo-labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from examples.covid3d.lesson import EXPERT, PSEUDO, Lesson
from examples.covid3d.loss import combo_loss, voxel_loss
from examples.covid3d.rivals.mean_teacher import MeanTeacher
from examples.covid3d.training import Objective, Outcome
from examples.covid3d.training import Row as Log
from reweight import MetaReweighter

DECAY = 0.99
WARM_UP = 0.6
"""Share of the steps that see expert scans alone: a student that knows nothing teaches nothing."""

Batch = tuple[Tensor, Tensor, bool]


def _losses(model: nn.Module, batch: Batch) -> Tensor:
    """Combo loss of each expert sample; of pseudo-labels, one value per voxel or per sample."""
    images, targets, per_voxel = batch
    return (voxel_loss if per_voxel else combo_loss)(model(images), targets)


class Following(Objective):
    """Learns from all expert scans and from what its own moving average says of unlabelled ones.

    After a warm-up on expert scans alone, every step adds the loss on a batch of unlabelled patches
    whose soft labels are the mean teacher's probabilities (Tarvainen & Valpola 2017), weighed by
    the agreement of their gradient with that of the expert batch. The expert loss is the trusted
    term, which the scores' trusted gradient gives for free. The mean teacher is what is evaluated.

    Args:
        lesson: The replicate.
        model: The student.
        steps: Of the whole training.
        options: What :class:`reweight.MetaReweighter` is given beside model and forward; None for
            equal weights.
        unlabelled: Whether unlabelled scans are used at all after the warm-up.
    """

    def __init__(
        self,
        lesson: Lesson,
        model: nn.Module,
        steps: int,
        options: Mapping[str, Any] | None = None,
        *,
        unlabelled: bool = True,
    ) -> None:
        self._model, self._device = model, lesson.device
        self._warm_up = round(WARM_UP * steps) if unlabelled else steps
        self._experts = lesson.sampler(lesson.expert_scans(), EXPERT)
        self._others = lesson.sampler(lesson.pseudo_scans(), PSEUDO)
        self._teacher = MeanTeacher(model, DECAY)
        self._reweighter: MetaReweighter | None = None
        if options is not None:
            self._per_voxel = options.get("granularity") == "element"
            self._reweighter = MetaReweighter(
                model, forward=_losses, trusted_coefficient=1.0, **options
            )

    def __call__(self, step: int) -> Outcome:
        """Draws the batches of ``step``."""
        images, masks = self._experts.draw(step).pair(self._device)
        self.waited = self._experts.waited + self._others.waited
        if step < self._warm_up:
            loss = combo_loss(self._model(images), masks).mean()
            return Outcome(loss, row={"mean_loss": float(loss.detach())})
        others, _ = self._others.draw(step).pair(self._device)
        labels = self._teacher(others).float().softmax(1)[:, 1]
        if self._reweighter is None:
            supervised = combo_loss(self._model(images), masks).mean()
            pseudo = combo_loss(self._model(others), labels).mean()
            row: Log = {"mean_loss": float(supervised.detach())}
            row["pseudo_loss"] = float(pseudo.detach())
            return Outcome(supervised + pseudo, row=row)
        result = self._reweighter((others, labels, self._per_voxel), (images, masks, False))
        assert result.trusted_loss is not None
        share = result.weights.numel()
        row = {
            "mean_loss": float(result.trusted_loss),
            "pseudo_loss": float(result.losses.mean()),
            "kept": result.kept / share * len(others),
            "effective_sample_size": result.effective_sample_size / share * len(others),
        }
        return Outcome(result.loss, row=row)

    def after_step(self, step: int) -> None:
        """The teacher follows."""
        del step
        self._teacher.update(self._model)

    def evaluated(self) -> nn.Module:
        """The mean teacher."""
        return self._teacher.module

    def state_dict(self) -> dict[str, Any]:
        """The mean teacher."""
        return self._teacher.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes the mean teacher back."""
        self._teacher.load_state_dict(state)
