"""What the trial is made of: who has which role, and which share of the masks has which fault."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from examples.covid3d.common.config import Config

SOUND, TEACHER = "sound", "a weak teacher's"

SHARES: Mapping[str, int] = {
    TEACHER: 34,
    "another patient's": 4,
    "mirrored left-right": 3,
    "mirrored front-back": 2,
    "shifted by 1 voxel": 4,
    "shifted by 2 voxels": 3,
    "shifted by 3 voxels": 3,
    "anterior part missing": 3,
    "posterior part missing": 3,
    "over-drawn by 1 voxel": 3,
    "over-drawn by 2 voxels": 2,
    "under-drawn by 1 voxel": 3,
    "under-drawn by 2 voxels": 2,
    "empty": 2,
}
"""Masks of each kind among 100 audited ones; the others are the experts'."""

ROWS = (
    "equal",
    "supervised-trusted",
    "equal-trusted",
    "random-trusted",
    "rgs-scan-loss",
    "rgs-scan",
    "rgs-source",
    "soft-voxel",
    "best-remembering",
    "audited",
    "oracle",
    "supervised-trusted+",
    "equal-trusted+",
    "audited+",
    "oracle+",
)
"""What is trained, in the order of the tables; with a plus, on rotated and stretched patches too.

Flips alone are the paper's augmentation. Rows with a plus tell what there is to gain otherwise.
"""

ROTATION, SCALING = 15.0, 0.15


@dataclass(frozen=True)
class Settings:
    """Settings of a trial.

    Attributes:
        seeds: Each deals roles, faults and batches anew; the tested patients are the same.
        trusted: Numbers of trusted scans; the fewer are among the more.
        rows: Which rows.
        set_aside: Expert scans of which so many are trusted; the others of them are not used.
        tested: Number of patients tested.
        teacher_scans: Expert scans that the weak teacher learns from; none of them is trusted.
        teacher_steps: Its steps.
        steps: Steps of a row.
        audit_steps: Steps of each of the two students that the audit asks.
        validation: For choosing settings: tested patients are set aside, never looked at, and
            others are tested in their place.
        options: Further settings, by name, of
            :class:`~examples.covid3d.common.config.Config`.
    """

    seeds: tuple[int, ...] = (0, 1, 2)
    trusted: tuple[int, ...] = (8, 24)
    rows: tuple[str, ...] = ROWS
    set_aside: int = 24
    tested: int = 32
    teacher_scans: int = 4
    teacher_steps: int = 60
    steps: int = 250
    audit_steps: int = 250
    validation: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)

    def config(self, data: str) -> Config:
        """The pipeline's settings: half as coarse again as the scans, so that one patch is one."""
        settings: dict[str, Any] = {
            "preset": "hippocampus-audit",
            "data": data,
            "kind": "nnunet",
            "intensity": "zscore",
            "spacing": (1.5, 1.5, 1.5),
            "foreground_labels": (1, 2),
            "channels": (16, 32, 64, 128),
            "patch": (24, 40, 24),
            "learning_rate": 1e-2,
            "schedule": "cosine",
            "flip_axes": (0,),
            "foreground": 0.5,
            "overlap": 0.25,
            "flip_average": True,
            "student_start": "scratch",
            "teacher_steps": self.teacher_steps,
            "student_steps": self.steps,
            "validate_every": 10_000,
            "checkpoint_every": 100,
        }
        return Config(**{**settings, **self.options})

    def to_json(self) -> dict[str, Any]:
        """What results depend on: everything but which rows, seeds and sizes there are."""
        content: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        for name in ("seeds", "trusted", "rows"):
            del content[name]
        return content
