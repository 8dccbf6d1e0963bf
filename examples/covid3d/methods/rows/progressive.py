"""Semi-supervised training by groups, after Fan et al. 2020 (Inf-Net)."""

from __future__ import annotations

from typing import Any

from torch import nn

from examples.covid3d.methods.rivals.groups import deal_groups, phase_of
from examples.covid3d.scans.store import StoredScan, write_labels
from examples.covid3d.train.lesson import EXPERT, Lesson
from examples.covid3d.train.loader import Ahead
from examples.covid3d.train.loss import combo_loss
from examples.covid3d.train.training import Outcome, Recipe


class Progressive(Recipe):
    """Unlabelled scans in K groups; the network labels one after the other and learns from it.

    In phase 0 the labelled scans alone are drawn. At the start of phase k the network as it then is
    labels group k, whose scans join the training set, and goes on training with equal weights.
    Where another run trained the teacher, its scans are not at hand, and phase 1 is the first.

    The public description leaves open how many phases there are and how long they last (here
    ``config.groups``, equally long) and the paper which expert scans are the labelled ones: here
    those of the teacher, for its Table 2 gives this row 0.590 beside 0.588 for the teacher, which
    159 further expert scans of the tested hospital would not have left so near.

    Args:
        lesson: The replicate.
        model: The student.
    """

    def __init__(self, lesson: Lesson, model: nn.Module) -> None:
        self._lesson, self._model = lesson, model
        self._steps = lesson.student_length().steps
        self._labels = lesson.folder / "labels"
        unlabelled = {scan.name: scan for scan in lesson.unlabelled_scans(self._labels)}
        names = deal_groups(sorted(unlabelled), lesson.config.groups, lesson.seed)
        self._groups = [[unlabelled[name] for name in group] for group in names]
        # Without scans of the teacher's, as where another run trained it, the first group starts.
        self._first = 0 if lesson.teacher_scans() else 1
        self._phase = 0
        self._sampler: Ahead | None = None

    def _draws(self) -> Ahead:
        pool: list[StoredScan] = self._lesson.teacher_scans()
        for group in self._groups[: self._phase]:
            pool = pool + group
        return self._lesson.sampler(pool, EXPERT)

    def __call__(self, step: int) -> Outcome:
        """Labels the next group if its phase begins, then draws batch ``step``."""
        groups = self._lesson.config.groups
        phase = self._first
        if groups > self._first:
            phase += phase_of(step, self._steps, groups - self._first)
        self.final = phase == groups
        if phase != self._phase or self._sampler is None:
            for group in self._groups[self._phase : phase]:
                for scan in group:
                    mask = self._lesson.label(self._model, scan)
                    write_labels(self._labels / scan.name, mask)
            self._phase, waited = phase, self._sampler.waited if self._sampler else 0.0
            self._sampler = self._draws()
            self._sampler.waited = waited
        images, masks = self._sampler.draw(step).pair(self._lesson.device)
        self.waited = self._sampler.waited
        loss = combo_loss(self._model(images), masks).mean()
        return Outcome(loss, row={"mean_loss": float(loss.detach()), "phase": phase})

    def state_dict(self) -> dict[str, Any]:
        """The phase; its labels are on disk."""
        return {"phase": self._phase}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes back the phase."""
        self._phase = int(state["phase"])
