"""Students whose weights remember what a whole training says of a scan or of a source."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

from examples.covid3d.methods.rivals.mean_teacher import MeanTeacher
from examples.covid3d.methods.rows.reweighted import Reweighted
from examples.covid3d.train.lesson import Lesson
from examples.covid3d.train.patches import PatchBatch
from examples.covid3d.train.training import Logged
from reweight import (
    GroupWeights,
    ReweightedStep,
    SampleWeights,
    ScoringContext,
    TrainingDynamics,
    WeightingContext,
)

DECAY = 0.99


def minus_loss(context: ScoringContext) -> Tensor:
    """How far a sample's loss is below the batch's mean: what memory could learn without trust."""
    return context.losses.mean() - context.losses


class Unweighted(SampleWeights):
    """Remembers like :class:`reweight.SampleWeights`, and weighs all samples alike."""

    def logits(self, context: WeightingContext) -> Tensor:
        """Returns zeros."""
        return torch.zeros_like(super().logits(context))


class Remembering(Reweighted):
    """Weighs patches by what the training so far says of their scan, or of the scan's source.

    All patches of a scan share one memory, whatever crop, flip or pose they are. ``memory.csv``
    tells at the end what became of each scan.

    Args:
        lesson: The replicate.
        model: The student.
        options: What :class:`reweight.MetaReweighter` is given beside model and loss.
        by: Whose memory it is.
        weighted: Whether memory weighs the patches.
        mended: Whether memory mends their masks: a patch is trained on its given mask as far as
            its scan is believed, and for the rest on what the mean teacher would draw.
    """

    def __init__(
        self,
        lesson: Lesson,
        model: nn.Module,
        options: Mapping[str, Any],
        *,
        by: Literal["scan", "source"] = "scan",
        weighted: bool = True,
        mended: bool = False,
    ) -> None:
        scans = [scan.name for scan in lesson.unlabelled_scans()]
        self._ids = {name: number for number, name in enumerate(scans)}
        self._source = {name: lesson.sources.get(name, "") for name in scans}
        sources = sorted(set(self._source.values()))
        self._groups = {source: number for number, source in enumerate(sources)}
        self._by = by
        self._memory: SampleWeights | GroupWeights
        if by == "source":
            self._memory = GroupWeights(sources)
        else:
            self._memory = (SampleWeights if weighted else Unweighted)(len(scans))
        self._dynamics = TrainingDynamics(len(scans))
        self._model = model
        self._teacher = MeanTeacher(model, DECAY) if mended else None
        super().__init__(
            lesson, model, {**options, "weighting": self._memory, "dynamics": self._dynamics}
        )

    def _weigh(self, noisy: PatchBatch, trusted: PatchBatch) -> ReweightedStep:
        ids = torch.tensor([self._ids[name] for name in noisy.names])
        groups = torch.tensor([self._groups[self._source[name]] for name in noisy.names])
        images, masks = noisy.pair(self._device)
        if self._teacher is not None and self._teacher.updates:
            at = groups if self._by == "source" else ids
            believed = self._memory.weights.to(masks.device)[at].view(-1, 1, 1, 1)
            drawn = self._teacher(images).float().softmax(1)[:, 1]
            masks = believed * masks + (1 - believed) * drawn
        return self._reweighter(
            (images, masks),
            trusted.pair(self._device),
            ids=ids,
            groups=groups if self._by == "source" else None,
        )

    def after_step(self, step: int) -> None:
        """The mean teacher follows."""
        del step
        if self._teacher is not None:
            self._teacher.update(self._model)

    def tables(self) -> dict[str, list[Logged]]:
        """``memory.csv``: of every scan what was remembered, and how its training went."""
        dynamics = self._dynamics
        of_scan = {
            "seen": dynamics.times_seen.tolist(),
            "mean_loss": dynamics.mean_loss.tolist(),
            "mean_weight": dynamics.mean_weight.tolist(),
            "share_negative": dynamics.share_negative.tolist(),
        }
        remembered = self._memory.remembered.tolist()
        rows = []
        for name, number in self._ids.items():
            source = self._source[name]
            at = self._groups[source] if self._by == "source" else number
            row: Logged = {"scan": name, "source": source, "memory": remembered[at]}
            rows.append(row | {key: values[number] for key, values in of_scan.items()})
        return {"memory": rows}

    def state_dict(self) -> dict[str, Any]:
        """What the reweighter goes by, all that is remembered, and the mean teacher."""
        teacher = None if self._teacher is None else self._teacher.state_dict()
        return {**super().state_dict(), "teacher": teacher}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes it back."""
        super().load_state_dict(state)
        if self._teacher is not None:
            self._teacher.load_state_dict(state["teacher"])
