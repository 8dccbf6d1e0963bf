"""What every stage is given: the run folder with its settings, and where to compute."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from examples.covid3d.common.config import Config
from examples.covid3d.run.other_teacher import check_teacher, teacher_for
from examples.covid3d.run.run_folder import RunFolder
from examples.covid3d.run.truth import check_truth, true_quality
from examples.covid3d.scans.manifest import read_manifest
from examples.covid3d.scans.splits import Replicate, plan
from examples.covid3d.train.lesson import Lesson


@dataclass(frozen=True)
class Context:
    """What every stage is given.

    Attributes:
        run: The run folder, with the settings.
        device: Where to compute.
    """

    run: RunFolder
    device: torch.device

    @property
    def config(self) -> Config:
        """The settings."""
        return self.run.config

    @property
    def prepared(self) -> Path:
        """Folder of the prepared scans."""
        return self.run.folder("prepare")

    def replicates(self) -> list[Replicate]:
        """Every seed and fold."""
        entries = read_manifest(self.prepared)
        replicates = plan(entries, self.config)
        if self.config.teacher_from is not None:
            check_teacher(self.config, entries, replicates, self.prepared)
        check_truth(self.config, entries, replicates)
        return replicates

    def teacher_folder(self, replicate: Replicate) -> Path:
        """Folder of a replicate's teacher: of this run, or of the run that ``teacher_from`` names.

        Teachers of another run are taken by seed; a seed it has not gets that of its first.
        """
        other = self.config.teacher_from
        if other is None:
            return self.run.folder("teacher", replicate.teacher)
        return teacher_for(Path(other), replicate.seed)

    def lesson(self, replicate: Replicate, folder: Path) -> Lesson:
        """The replicate as a training in ``folder`` sees it."""
        labels = self.run.folder("pseudo-label", replicate.teacher)
        unlabelled = replicate.roles["unlabelled"]
        return Lesson(
            self.config,
            self.device,
            replicate,
            self.prepared,
            self.teacher_folder(replicate),
            labels,
            folder,
            {entry.name: entry.source for entry in read_manifest(self.prepared)},
            partial(true_quality, self.prepared, labels, unlabelled),
        )
