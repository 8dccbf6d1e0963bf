"""Every setting of a run, and which stage reads it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal, get_args

from examples.covid3d.common.config_checks import check
from examples.covid3d.common.config_types import check_types
from examples.covid3d.common.errors import problem

STAGES = ("prepare", "teacher", "pseudo-label", "student", "evaluate", "report")
"""The stages, in order; each needs all the ones before it."""

KINDS = ("benchmark", "challenge", "csv", "hospital", "nnunet")
"""Layouts of datasets; each has a reader in ``scans/readers/``."""

Start = Literal["scratch", "teacher"]
"""Where students start: the initial state the teacher started from, or the teacher's weights."""

Intensity = Literal["ct", "window", "zscore"]
"""``ct``: Hounsfield units, windowed, volumes already in 0..255 detected; ``window``: any
intensities, clipped to the window; ``zscore``: each volume to mean 0 and standard deviation 1."""

Schedule = Literal["poly", "cosine", "constant"]
"""How the learning rate falls."""

Amp = Literal["off", "bf16", "fp16"]
"""Precision of the training passes under autocast; scores are never computed in it."""

Norm = Literal["batch", "instance"]
"""Normalisation of the network; Table 1 has batch normalisation, which couples samples."""

Keep = Literal["last", "best"]
"""Which checkpoint is evaluated: the last, or that with the best Dice on the trusted scans."""


@dataclass(frozen=True)
class Config:
    """Settings of a run. Lengths are in millimetres; intensities of CT in Hounsfield units (HU)."""

    preset: str = "demo"
    seeds: tuple[int, ...] = (0,)

    # Data: the embedded phantoms unless `data` names a folder or a CSV. A kind of None is guessed.
    data: str | None = None
    kind: str | None = None
    unlabelled: str | None = None
    unlabelled_kind: str | None = None
    # A CSV that says whose each scan is, and whether names are replaced by pseudonyms.
    patients: str | None = None
    pseudonyms: bool = False
    limit: int | None = None
    foreground_labels: tuple[int, ...] = (1,)
    phantoms: tuple[int, int, int, int] = (8, 6, 12, 12)
    phantom_spacing: float = 2.4
    phantom_seed: int = 0

    # Preparation. The paper resamples to 1.6 x 1.6 x 3.2 mm.
    spacing: tuple[float, float, float] = (6.4, 6.4, 6.4)
    intensity: Intensity = "ct"
    window: tuple[float, float] = (-1250.0, 250.0)
    # How many scans may be rejected: below 1 a share of them, else a number.
    max_rejected: float = 0.1

    # Split: shares (or numbers) of the patients for teacher, trusted, unlabelled and test; with
    # several folds, every patient is tested once. `teacher_once`: the teacher's patients are set
    # aside before the folds are made, as in the paper.
    shares: tuple[float, float, float, float] = (0.3, 0.2, 0.2, 0.3)
    folds: int = 1
    teacher_once: bool = False
    teacher_from: str | None = None
    split_seed: int = 0
    # An audit has no such split: some scans are trusted, so many or these, and the others judged.
    trusted: int = 0
    trusted_scans: tuple[str, ...] = ()

    # Network: Table 1 unless fewer channels are asked for.
    channels: tuple[int, ...] = (16, 32, 64, 128, 256)
    norm: Norm = "batch"

    # Training. The paper: up to 500 epochs of Adam at 0.01, C_v = C_p = 4, every flip.
    patch: tuple[int, int, int] = (32, 32, 32)
    batch_size: int = 4
    learning_rate: float = 1e-3
    schedule: Schedule = "poly"
    teacher_steps: int = 300
    student_steps: int = 400
    # Epochs override steps: a step count of epochs x 4 flips x scans / batch size.
    teacher_epochs: int | None = None
    student_epochs: int | None = None
    patience: int | None = None
    amp: Amp = "off"
    flip_axes: tuple[int, ...] = (0, 1)
    foreground: float = 0.6
    # Random rotation (degrees), stretching (share) and change of intensities (0 to 1) of patches.
    rotation: float = 0.0
    scaling: float = 0.0
    jitter: float = 0.0
    # The paper leaves the first θ of a student open.
    student_start: Start = "teacher"
    mixing: float = 0.5
    groups: int = 4
    methods: tuple[str, ...] = ("equal", "rgsm-al")
    keep: Keep = "last"
    checkpoint_every: int = 50
    validate_every: int = 100
    tensorboard: bool = False

    # Inference and evaluation.
    overlap: float = 0.5
    flip_average: bool = False
    nsd_tolerance: float = 3.0

    def __post_init__(self) -> None:
        check(self, _CHOICES)


_CHOICES: dict[str, tuple[str, ...]] = {
    "student_start": get_args(Start),
    "intensity": get_args(Intensity),
    "schedule": get_args(Schedule),
    "amp": get_args(Amp),
    "keep": get_args(Keep),
    "norm": get_args(Norm),
}

# What each stage reads, so that a changed setting redoes that stage and the ones after it, no more.
# Seeds, folds and methods are not among them: each has a folder of its own within a stage.
_READ_BY = {
    "prepare": (
        "data", "kind", "unlabelled", "unlabelled_kind", "patients", "pseudonyms", "limit",
        "foreground_labels", "phantoms", "phantom_spacing", "phantom_seed", "spacing", "intensity",
        "window",
    ),
    "teacher": (
        "shares", "folds", "teacher_once", "teacher_from", "split_seed", "trusted",
        "trusted_scans", "channels", "norm", "patch", "batch_size", "learning_rate", "schedule",
        "teacher_steps", "teacher_epochs",
        "patience", "amp", "flip_axes", "foreground", "rotation", "scaling", "jitter", "keep",
        "validate_every",
    ),
    "pseudo-label": ("overlap", "flip_average"),
    "student": ("student_steps", "student_epochs", "student_start", "mixing", "groups"),
    "evaluate": ("nsd_tolerance",),
    "report": ("seeds", "methods"),
}  # fmt: skip


def settings_of(config: Config, stage: str) -> dict[str, Any]:
    """The settings that ``stage`` itself reads, by name (those before it not included)."""
    return {name: getattr(config, name) for name in _READ_BY[stage]}


def to_json(config: Config) -> dict[str, Any]:
    """The configuration as plain JSON types."""
    return dataclasses.asdict(config)


_PATHS = ("data", "unlabelled", "patients", "teacher_from")


def shown_settings(config: Config) -> dict[str, Any]:
    """The settings for a report: under pseudonyms without paths."""
    shown = to_json(config)
    if config.pseudonyms:
        shown |= {name: "(kept apart)" for name in _PATHS if shown[name] is not None}
    return shown


def from_json(content: dict[str, Any], where: str = "config.json") -> Config:
    """Reads back what :func:`to_json` gave.

    Args:
        content: JSON.
        where: The file, named in errors.

    Raises:
        UserError: If a setting is unknown, as in a run folder of another version, or of another
            type.
    """
    known = {field.name for field in dataclasses.fields(Config)}
    unknown = sorted(set(content) - known)
    if unknown:
        raise problem(
            where,
            f"unknown settings {unknown}",
            "the settings of this version",
            "use a new --out folder",
        )
    values: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in content.items()
    }
    check_types(Config, values, where)
    return Config(**values)
