"""What the training of one row may see: the scans of its replicate, and networks to start from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from examples.covid3d.common.config import Config
from examples.covid3d.scans.splits import Replicate
from examples.covid3d.scans.store import StoredScan, stored, stored_with_mask
from examples.covid3d.train.inference import foreground_probability, load_network
from examples.covid3d.train.loader import Ahead
from examples.covid3d.train.network import initial_network
from examples.covid3d.train.patches import PatchSampler
from examples.covid3d.train.schedule import steps_per_epoch
from examples.covid3d.train.training import WEIGHTS, Length

TEACHER, PSEUDO, TRUSTED, EXPERT = 1, 2, 3, 4
"""Streams of random numbers: samplers of one stream see the same batches in every row."""

Scans = list[StoredScan]


@dataclass(frozen=True, eq=False)
class Lesson:
    """A replicate as a training sees it.

    Masks of unlabelled and of test scans cannot be reached from here. How good pseudo-labels truly
    are can be asked for where it is known, and only the row that is a bound by it does.

    Attributes:
        config: Settings.
        device: Where to compute.
        replicate: Seed, fold and roles.
        prepared: Folder of the prepared scans.
        teacher: Folder of the trained teacher.
        labels: Folder of the pseudo-labels.
        folder: Where this training may write files of its own.
        sources: Where each scan is from, by its name: a scanner, a reader, a teacher. What is not
            among them is of one source.
        true_quality: Gives the true Dice of each pseudo-label, by scan.
    """

    config: Config
    device: torch.device
    replicate: Replicate
    prepared: Path
    teacher: Path
    labels: Path
    folder: Path
    sources: Mapping[str, str] = field(default_factory=dict)
    true_quality: Callable[[], Mapping[str, float]] = dict

    @property
    def seed(self) -> int:
        """Seed of the replicate."""
        return self.replicate.seed

    def _expert(self, role: str) -> Scans:
        return [stored_with_mask(self.prepared, name) for name in self.replicate.roles[role]]

    def teacher_scans(self) -> Scans:
        """Expert-annotated scans that the teacher learns from, X_tr."""
        return self._expert("teacher")

    def trusted_scans(self) -> Scans:
        """Expert-annotated scans that judge, X_v."""
        return self._expert("trusted")

    def expert_scans(self) -> Scans:
        """All expert-annotated scans but those for testing."""
        return self.teacher_scans() + self.trusted_scans()

    def pseudo_scans(self) -> Scans:
        """Unlabelled scans with the teacher's labels, X_p."""
        return self.unlabelled_scans(self.labels)

    def unlabelled_scans(self, labels: Path | None = None) -> Scans:
        """Unlabelled scans with the labels in a folder, or with none."""
        names = self.replicate.roles["unlabelled"]
        return [stored(self.prepared, name, labels) for name in names]

    def sampler(self, scans: Sequence[StoredScan], stream: int) -> Ahead:
        """Draws batches from ``scans``, one ahead of the step that needs it."""
        config = self.config
        return Ahead(
            PatchSampler(
                scans,
                config.patch,
                config.batch_size,
                config.foreground,
                self.seed,
                stream,
                flip_axes=config.flip_axes,
                rotation=config.rotation,
                scaling=config.scaling,
                jitter=config.jitter,
                spacing=config.spacing,
            )
        )

    def initial_network(self) -> nn.Module:
        """The network in the state that the seed draws."""
        return initial_network(self.seed, self.device, self.config.channels, self.config.norm)

    def teacher_network(self) -> nn.Module:
        """The trained teacher."""
        return load_network(self.teacher / WEIGHTS, self.device)

    def probability(self, network: nn.Module, scan: StoredScan) -> torch.Tensor:
        """A network's foreground probability for a whole scan, (X, Y, Z), on the CPU."""
        config = self.config
        axes = config.flip_axes if config.flip_average else ()
        return foreground_probability(network, scan.image, config.patch, config.overlap, axes)

    def label(self, network: nn.Module, scan: StoredScan) -> NDArray[np.uint8]:
        """A network's labels for a whole scan, 0 or 1, (X, Y, Z)."""
        return (self.probability(network, scan) > 0.5).numpy().astype(np.uint8)

    def teacher_length(self) -> Length:
        """Steps of the teacher."""
        epoch = steps_per_epoch(len(self.replicate.roles["teacher"]), self.config)
        epochs = self.config.teacher_epochs
        return Length(self.config.teacher_steps if epochs is None else epochs * epoch, epoch)

    def student_length(self) -> Length:
        """Steps of a student that starts from the teacher, or from scratch."""
        epoch = steps_per_epoch(len(self.replicate.roles["unlabelled"]), self.config)
        epochs = self.config.student_epochs
        return Length(self.config.student_steps if epochs is None else epochs * epoch, epoch)

    def whole_length(self) -> Length:
        """Steps of the teacher and of a student that starts from it."""
        student = self.student_length()
        if self.config.student_start == "scratch":
            return student
        return Length(self.teacher_length().steps + student.steps, student.epoch)
