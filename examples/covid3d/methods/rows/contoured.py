"""Training on pseudo-labels that an active contour has refined, after Ma et al. 2020."""

from __future__ import annotations

from torch import nn

from examples.covid3d.methods.rivals.active_contour import refine
from examples.covid3d.methods.rows.supervised import Supervised
from examples.covid3d.scans.store import write_labels
from examples.covid3d.train.lesson import EXPERT, PSEUDO, Lesson


def contoured(lesson: Lesson, model: nn.Module) -> Supervised:
    """Refines the teacher's pseudo-labels, then trains on them and on all expert scans.

    Ma et al. refine the network's output by region-scalable fitting and train on both kinds of
    scans; how often it is refined and how the two are balanced is left open: once, and equally.

    Args:
        lesson: The replicate.
        model: The student.
    """
    folder = lesson.folder / "labels"
    for scan in lesson.pseudo_scans():
        if not (folder / scan.name / "mask.npy").exists():
            refined = refine(scan.image, scan.mask, scan.grid.spacing)
            write_labels(folder / scan.name, refined)
    return Supervised(
        model,
        lesson.device,
        lesson.sampler(lesson.expert_scans(), EXPERT),
        lesson.sampler(lesson.unlabelled_scans(folder), PSEUDO),
    )
