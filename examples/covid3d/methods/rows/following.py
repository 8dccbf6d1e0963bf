"""Students whose teacher follows them: the experts' scans, and its soft labels of the others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from examples.covid3d.methods.rivals.mean_teacher import MeanTeacher
from examples.covid3d.train.lesson import EXPERT, PSEUDO, Lesson
from examples.covid3d.train.loss import combo_loss, voxel_loss
from examples.covid3d.train.training import Outcome, Recipe
from reweight import MetaReweighter

DECAY = 0.99
WARM_UP = 0.6
"""Share of the steps that see expert scans alone: a student that knows nothing teaches nothing."""

Batch = tuple[Tensor, Tensor, bool]


def _losses(model: nn.Module, batch: Batch) -> Tensor:
    """Combo loss of each expert sample; of pseudo-labels, one value per voxel or per sample."""
    images, targets, per_voxel = batch
    return (voxel_loss if per_voxel else combo_loss)(model(images), targets)


def agreeing(weights: Tensor) -> Tensor:
    """Equal weight for whatever has any, as a selector: signs of scores count, sizes do not."""
    return (weights > 0).to(weights) / weights.numel()


class Following(Recipe):
    """Learns from all expert scans and from what its own moving average says of unlabelled ones.

    After a warm-up on expert scans alone, every step adds the loss on a batch of unlabelled patches
    whose soft labels are the mean teacher's probabilities (Tarvainen & Valpola 2017): with equal
    weights, or weighed by the agreement of their gradient with that of the expert batch. The expert
    loss is then the trusted term, which the trusted gradient of the scores gives for free. The mean
    teacher is what is evaluated.

    Args:
        lesson: The replicate.
        model: The student.
        steps: Of the whole training.
        options: What :class:`reweight.MetaReweighter` is given beside model and forward; None to
            go on with the expert scans alone.
    """

    def __init__(
        self,
        lesson: Lesson,
        model: nn.Module,
        steps: int,
        options: Mapping[str, Any] | None,
    ) -> None:
        self._model, self._device, self._steps = model, lesson.device, steps
        self._warm_up = steps if options is None else round(WARM_UP * steps)
        self._experts = lesson.sampler(lesson.expert_scans(), EXPERT)
        self._others = lesson.sampler(lesson.pseudo_scans(), PSEUDO)
        self._teacher = MeanTeacher(model, DECAY)
        options = dict(options or {})
        self._per_voxel = options.get("granularity") == "element"
        self._reweighter = MetaReweighter(
            model, forward=_losses, trusted_coefficient=1.0, **options
        )

    def __call__(self, step: int) -> Outcome:
        """Draws the batches of ``step``."""
        images, masks = self._experts.draw(step).pair(self._device)
        self.waited = self._experts.waited + self._others.waited
        self.final = step >= self._warm_up or self._warm_up == self._steps
        if step < self._warm_up:
            loss = combo_loss(self._model(images), masks).mean()
            return Outcome(loss, row={"mean_loss": float(loss.detach())})
        others, _ = self._others.draw(step).pair(self._device)
        labels = self._teacher(others).float().softmax(1)[:, 1]
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
        """The mean teacher, and what the reweighter goes by."""
        return {
            "teacher": self._teacher.state_dict(),
            "reweighter": self._reweighter.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes both back."""
        self._teacher.load_state_dict(state["teacher"])
        self._reweighter.load_state_dict(state["reweighter"])
