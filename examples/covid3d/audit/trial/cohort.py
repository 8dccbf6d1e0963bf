"""The scans of one seed: who has which role, and the masks that the audited ones come with."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from examples.covid3d.audit.faults import FAULTS
from examples.covid3d.audit.trial.settings import (
    ROTATION,
    SCALING,
    SHARES,
    SOUND,
    TEACHER,
    Settings,
)
from examples.covid3d.common.config import Config
from examples.covid3d.common.files import read_csv, write_array, write_csv
from examples.covid3d.methods.rows.supervised import Supervised
from examples.covid3d.scans.manifest import Entry
from examples.covid3d.scans.nifti import load_mask
from examples.covid3d.scans.prepare_scan import on_grid
from examples.covid3d.scans.splits import Replicate
from examples.covid3d.scans.store import StoredScan, stored, write_labels
from examples.covid3d.train.inference import load_network
from examples.covid3d.train.lesson import TEACHER as TEACHER_STREAM
from examples.covid3d.train.lesson import Lesson
from examples.covid3d.train.training import WEIGHTS, train

_READERS = ("reader A", "reader B", "reader C")
_SPLIT = 20_261_126
KINDS, OWN = "kinds.csv", "own.npy"


@dataclass(frozen=True, eq=False)
class Cohort:
    """The scans of one seed.

    Attributes:
        config: The pipeline's settings.
        device: Where to compute.
        seed: The seed.
        prepared: Folder of the prepared scans.
        folder: Folder of this seed: the weak teacher, and ``given`` with the audited masks.
        entries: The manifest, by scan.
        test: Names of the scans tested.
        trusted: Names of the scans that may be trusted; of a smaller number, the first.
        teacher: Names of the scans that the weak teacher learns from.
        audited: Names of the scans whose masks are in question.
    """

    config: Config
    device: torch.device
    seed: int
    prepared: Path
    folder: Path
    entries: dict[str, Entry]
    test: tuple[str, ...]
    trusted: tuple[str, ...]
    teacher: tuple[str, ...]
    audited: tuple[str, ...]

    @property
    def given(self) -> Path:
        """Folder of the masks that the audited scans come with."""
        return self.folder / "given"

    def lesson(
        self,
        folder: Path,
        trusted: int,
        *,
        turned: bool,
        audited: Sequence[str] | None = None,
    ) -> Lesson:
        """What a training with so many trusted scans sees.

        Args:
            folder: Where the training may write.
            trusted: Number of trusted scans.
            turned: Whether patches are rotated and stretched, beside being flipped.
            audited: Scans with a mask in question; all of them by default.
        """
        config = self.config
        if turned:
            config = replace(config, rotation=ROTATION, scaling=SCALING)
        roles = {
            "teacher": self.teacher,
            "trusted": self.trusted[:trusted],
            "unlabelled": self.audited if audited is None else tuple(audited),
            "test": (),
        }
        sources = {row["scan"]: row["source"] for row in read_csv(self.folder / KINDS)}
        return Lesson(
            config,
            self.device,
            Replicate(self.seed, 1, roles, "teacher"),
            self.prepared,
            self.folder / "teacher",
            self.given,
            folder,
            sources,
        )

    def kinds(self) -> dict[str, str]:
        """What is wrong with each audited mask."""
        return {row["scan"]: row["kind"] for row in read_csv(self.folder / KINDS)}

    def expert(self, name: str, labels: tuple[int, ...] | None = None) -> NDArray[np.uint8]:
        """The expert's mask of a scan on its own grid, of all structures or of some."""
        scan, known = self.entries[name].scan(self.prepared), self.config.foreground_labels
        if scan.mask is None:
            raise ValueError(f"{name} has no mask")
        grid = stored(self.prepared, name).own_grid
        return load_mask(scan.mask, scan.image, grid, labels or known, known)

    def labels(self, name: str) -> NDArray[np.uint8]:
        """The expert's labels of a scan on its own grid, structure by structure."""
        whole = np.zeros_like(self.expert(name))
        for label in self.config.foreground_labels:
            whole[self.expert(name, (label,)) > 0] = label
        return whole

    def given_mask(self, name: str) -> NDArray[np.uint8]:
        """The mask that an audited scan came with, on its own grid."""
        mask: NDArray[np.uint8] = np.load(self.given / name / OWN)
        return mask


def deal(
    entries: Sequence[Entry],
    settings: Settings,
    seed: int,
    config: Config,
    out: Path,
    device: torch.device | None = None,
) -> Cohort:
    """Deals roles: the tested patients are the same for every seed, the others are dealt anew.

    Args:
        entries: The manifest.
        settings: Settings of the trial.
        seed: Seed.
        config: Settings of the pipeline.
        out: Folder of the trial; the prepared scans are in it.
        device: Where to compute; the CPU by default.
    """
    names = np.asarray(sorted(entry.name for entry in entries))
    order = np.random.default_rng(_SPLIT).permutation(names)
    test, rest = order[: settings.tested], order[settings.tested :]
    rest = np.random.default_rng([_SPLIT, seed]).permutation(rest)
    if settings.validation:
        test, rest = rest[: settings.tested], rest[settings.tested :]
    most = settings.set_aside
    start = most + settings.teacher_scans
    return Cohort(
        config,
        device or torch.device("cpu"),
        seed,
        out / "prepare",
        out / f"seed{seed}",
        {entry.name: entry for entry in entries},
        *(
            tuple(str(name) for name in part)
            for part in (test, rest[:most], rest[most:start], rest[start:])
        ),
    )


def kinds_of(count: int, rng: np.random.Generator) -> list[str]:
    """What is wrong with each of so many masks, in the shares of the trial, shuffled."""
    whole = [kind for kind, share in SHARES.items() for _ in range(share)]
    whole += [SOUND] * (100 - len(whole))
    # Of other numbers than 100, the nearest: each mask stands for its place among the hundred.
    chosen = [whole[math.floor((place + 0.5) * 100 / count)] for place in range(count)]
    return [chosen[at] for at in rng.permutation(count)]


def give_masks(cohort: Cohort) -> None:
    """Trains the weak teacher and writes the masks that the audited scans come with.

    The list of kinds is written last: where it is, all is.
    """
    if (cohort.folder / KINDS).exists():
        return
    rng = np.random.default_rng([_SPLIT, cohort.seed, 1])
    kinds = kinds_of(len(cohort.audited), rng)
    readers = rng.choice(_READERS, len(cohort.audited))
    labels = {name: cohort.labels(name) for name in cohort.audited}
    network = None
    rows: list[dict[str, str]] = []
    for name, kind, reader in zip(cohort.audited, kinds, readers, strict=True):
        # Randomness of its own for each scan, whatever is drawn for others.
        own_rng = np.random.default_rng([_SPLIT, cohort.seed, 2, len(rows)])
        scan = stored(cohort.prepared, name)
        if kind == TEACHER:
            network = network or load_network(_teach(cohort), cohort.device)
            probability = _lesson_of_teacher(cohort).probability(network, scan)
            mask = scan.to_own_grid(probability)
        elif kind == SOUND:
            mask = (labels[name] > 0).astype(np.uint8)
        else:
            others = [labels[other] for other in cohort.audited if other != name]
            mask = FAULTS[kind](labels[name], others, own_rng)
        write_array(cohort.given / name / OWN, mask)
        write_labels(cohort.given / name, on_working_grid(scan, mask))
        source = "weak teacher" if kind == TEACHER else str(reader)
        rows.append({"scan": name, "kind": kind, "source": source})
    write_csv(cohort.folder / KINDS, rows)


def on_working_grid(scan: StoredScan, mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Brings a mask from a scan's own grid to the working one, as preparation does."""
    return on_grid(mask, {"own_grid": scan.own_grid, "grid": scan.grid})


def _lesson_of_teacher(cohort: Cohort) -> Lesson:
    roles = {"teacher": cohort.teacher, "trusted": (), "unlabelled": (), "test": ()}
    folder = cohort.folder / "teacher"
    return Lesson(
        # Another initial state than the students': it is somebody else's network.
        cohort.config,
        cohort.device,
        replace(Replicate(cohort.seed, 1, roles, "teacher"), seed=cohort.seed + 1000),
        cohort.prepared,
        folder,
        folder,
        folder,
    )


def _teach(cohort: Cohort) -> Path:
    lesson = _lesson_of_teacher(cohort)
    model = lesson.initial_network()
    train(
        model,
        Supervised(model, lesson.device, lesson.sampler(lesson.teacher_scans(), TEACHER_STREAM)),
        lambda _: math.nan,
        config=cohort.config,
        length=lesson.teacher_length(),
        folder=lesson.folder,
        title=f"seed {cohort.seed}, weak teacher",
    )
    return lesson.folder / WEIGHTS
