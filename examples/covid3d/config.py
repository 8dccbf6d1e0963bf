"""Every setting of a run, and the presets."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal, get_args

from examples.covid3d.errors import problem

STAGES = ("prepare", "teacher", "pseudo-label", "student", "evaluate", "report")
"""The stages, in order; each needs all the ones before it."""


Start = Literal["scratch", "teacher"]
"""Where students start: the initial state the teacher started from, or the teacher's weights."""


@dataclass(frozen=True)
class Config:
    """Settings of a run. Lengths are in millimetres, intensities in Hounsfield units (HU)."""

    preset: str = "demo"
    seed: int = 0

    # Data: the embedded phantoms unless `benchmark` names a folder.
    benchmark: str | None = None
    unlabelled: str | None = None
    # Shares of the patients, or numbers of phantoms: teacher, trusted, unlabelled, test.
    shares: tuple[float, float, float, float] = (0.3, 0.2, 0.2, 0.3)
    phantoms: tuple[int, int, int, int] = (8, 6, 12, 12)
    phantom_spacing: float = 2.4

    # Preparation. The paper resamples to 1.6 x 1.6 x 3.2 mm.
    spacing: tuple[float, float, float] = (6.4, 6.4, 6.4)
    window: tuple[float, float] = (-1250.0, 250.0)

    # Training. The paper: 500 epochs of Adam at 0.01, C_v = C_p = 4.
    patch: tuple[int, int, int] = (32, 32, 32)
    batch_size: int = 4
    learning_rate: float = 1e-3
    teacher_steps: int = 300
    student_steps: int = 400
    # The paper leaves the first θ of a student open.
    student_start: Start = "teacher"
    foreground: float = 0.6
    methods: tuple[str, ...] = ("equal", "rgsm_al")
    checkpoint_every: int = 50
    validate_every: int = 100

    # Inference.
    overlap: float = 0.5

    def __post_init__(self) -> None:
        for side in self.patch:
            if side < 32 or side % 16:
                raise problem(
                    "--patch",
                    f"a side of {side} voxels",
                    "multiples of 16, at least 32: the network halves each side four times",
                    "pass for instance --patch 48 48 32",
                )
        positive = (
            "batch_size",
            "learning_rate",
            "teacher_steps",
            "student_steps",
            "checkpoint_every",
            "validate_every",
        )
        for name in positive:
            if getattr(self, name) <= 0:
                raise problem(
                    f"--{name.replace('_', '-')}",
                    f"{getattr(self, name)}",
                    "more than 0",
                    "raise it",
                )
        if min(self.spacing) <= 0 or self.window[0] >= self.window[1]:
            raise problem(
                "--spacing",
                f"{self.spacing}",
                "three lengths above 0 mm",
                "pass --spacing 1.6 1.6 3.2",
            )
        if not 0 <= self.overlap < 1 or self.seed < 0:
            raise problem(
                "--overlap, --seed",
                f"{self.overlap:g}, {self.seed}",
                "an overlap in [0, 1), a seed of 0 or more",
                "pass for instance --overlap 0.5 --seed 0",
            )
        if self.student_start not in get_args(Start):
            raise problem(
                "--student-start",
                f"{self.student_start!r}",
                " or ".join(get_args(Start)),
                "pass for instance --student-start teacher",
            )
        if min(self.phantoms) < 1:
            raise problem("phantoms", f"{self.phantoms}", "at least one for each role", "raise it")


PRESETS = {
    # Phantoms, under three minutes on two cores. Coarse voxels and small patches leave time for
    # enough steps: a student that is not trained yet tells nothing about its weights.
    "demo": Config(),
    # Real scans on two cores: one and a half times the paper's spacing.
    "small": Config(
        preset="small",
        spacing=(2.4, 2.4, 4.8),
        patch=(64, 64, 32),
        student_steps=250,
        checkpoint_every=25,
        validate_every=50,
    ),
}

# What each stage reads, so that a changed setting redoes that stage and the ones after it, no more.
_READ_BY = {
    "prepare": (
        "seed", "benchmark", "unlabelled", "shares", "phantoms", "phantom_spacing", "spacing",
        "window",
    ),
    "teacher": (
        "patch", "batch_size", "learning_rate", "teacher_steps", "foreground", "validate_every",
    ),
    "pseudo-label": ("overlap",),
    "student": ("student_steps", "student_start", "methods"),
    "evaluate": (),
    "report": (),
}  # fmt: skip


def settings_of(config: Config, stage: str) -> dict[str, Any]:
    """The settings that ``stage`` itself reads, by name (those before it not included)."""
    return {name: getattr(config, name) for name in _READ_BY[stage]}


def to_json(config: Config) -> dict[str, Any]:
    """The configuration as plain JSON types."""
    return dataclasses.asdict(config)


def from_json(content: dict[str, Any]) -> Config:
    """Reads back what :func:`to_json` gave.

    Raises:
        UserError: If a setting is unknown, as in a run folder of another version.
    """
    known = {field.name for field in dataclasses.fields(Config)}
    unknown = sorted(set(content) - known)
    if unknown:
        raise problem(
            "config.json",
            f"unknown settings {unknown}",
            "the settings of this version",
            "use a new --out folder",
        )
    values: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in content.items()
    }
    return Config(**values)
