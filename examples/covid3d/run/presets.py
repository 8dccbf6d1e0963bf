"""Named settings: the demo, real scans on two cores, and the paper's two experiments."""

from __future__ import annotations

import dataclasses

from examples.covid3d.common.config import Config
from examples.covid3d.methods.names import EXTERNAL_ROWS, REMEMBERING_ROWS, ROW_NAMES, TOLD_ROWS

_SMALL_ROWS = ("supervised", "equal", "rgsm-al")
_DEMO_ROWS = ("supervised", "equal-trusted", "rgsm-al", "best-remembering", "oracle")
_PAPER_ROWS = ("supervised", "rgs", "rgs-al", "rgsm-al")
_ABLATION_ROWS = ("supervised", "semi-supervised", "rgs", "rgm", "rgsm", "rgs-al", "rgsm-al")
_CONTROLS = (
    "supervised-all",
    "supervised-all-long",
    "equal",
    "random",
    "equal-trusted",
    "rgsm-al-trusted",
    "rgs-voxel",
)
_RIVALS = ("ua-mt", "self-training", "active-contour")

_PAPER = Config(
    spacing=(1.6, 1.6, 3.2),
    patch=(96, 96, 96),
    learning_rate=0.01,
    schedule="constant",
    teacher_epochs=500,
    student_epochs=500,
    patience=20,
    student_start="scratch",
    checkpoint_every=200,
    validate_every=500,
    tensorboard=True,
    # Under "supervised" the teacher: trained once, on four patients.
    teacher_once=True,
)
_SMALL = Config(
    methods=_SMALL_ROWS,
    spacing=(2.4, 2.4, 4.8),
    patch=(64, 64, 32),
    student_steps=250,
    checkpoint_every=25,
    validate_every=50,
)

_HIPPOCAMPUS = Config(
    preset="hippocampus",
    seeds=(0, 1, 2),
    kind="nnunet",
    intensity="zscore",
    spacing=(1.0, 1.0, 1.0),
    foreground_labels=(1, 2),
    shares=(8, 24, 88, 40),
    channels=(16, 32, 64, 128),
    patch=(32, 48, 32),
    learning_rate=1e-2,
    schedule="cosine",
    teacher_steps=300,
    student_steps=300,
    student_start="scratch",
    flip_axes=(0,),
    foreground=0.5,
    rotation=15.0,
    scaling=0.15,
    validate_every=300,
    checkpoint_every=100,
    # A teacher is equally wrong everywhere: rows that remember are tried by `audit-trial`.
    methods=tuple(
        name for name in ROW_NAMES if name not in EXTERNAL_ROWS + REMEMBERING_ROWS + TOLD_ROWS
    ),
)

PRESETS = {
    # Phantoms, in four minutes on two cores. Coarse voxels, small patches and a narrow network
    # leave time for three seeds and enough steps: memory knows little of a scan it seldom saw.
    "demo": Config(
        seeds=(0, 1, 2),
        phantoms=(8, 8, 20, 24),
        phantom_spacing=3.2,
        channels=(8, 16, 32, 64),
        learning_rate=1e-2,
        teacher_steps=300,
        student_steps=200,
        validate_every=300,
        checkpoint_every=100,
        methods=_DEMO_ROWS,
    ),
    # Real scans on two cores: one and a half times the paper's spacing.
    "small": dataclasses.replace(_SMALL, preset="small"),
    # Benchmark and hospital: 4 of the scans for the teacher, the others in 4 folds (Section 4).
    "experiment-1": dataclasses.replace(
        _PAPER,
        preset="experiment-1",
        shares=(4, 12, 0, 4),
        folds=4,
        methods=(*_PAPER_ROWS, *_CONTROLS, *_RIVALS, "best"),
    ),
    # Challenge and hospital: 5 folds, labelled by the teacher of experiment 1.
    "experiment-2": dataclasses.replace(
        _PAPER,
        preset="experiment-2",
        shares=(0, 159, 0, 40),
        folds=5,
        methods=(*_ABLATION_ROWS, *_CONTROLS, "best"),
    ),
    # Every row on real expert labels, within an hour on two cores: 160 MR volumes.
    "hippocampus": _HIPPOCAMPUS,
    # The same with six expert scans instead of 32: is there more to gain where there is less?
    "hippocampus-few": dataclasses.replace(
        _HIPPOCAMPUS,
        preset="hippocampus-few",
        shares=(2, 4, 114, 40),
        methods=(
            "supervised",
            "supervised-all",
            "equal",
            "random",
            "rgsm-al",
            "equal-trusted",
            "rgsm-al-trusted",
            "supervised-all-long",
            "best",
            "best-agreeing",
        ),
    ),
    # Ten chest CTs, every patient tested once; twice the paper's spacing.
    "covid-ct": dataclasses.replace(
        _SMALL,
        preset="covid-ct",
        spacing=(3.2, 3.2, 4.8),
        patch=(48, 48, 32),
        shares=(3, 2, 3, 2),
        folds=5,
        teacher_steps=200,
        student_steps=200,
        methods=("supervised", "supervised-all", "semi-supervised", "rgsm-al"),
    ),
    # The same shapes for two cores.
    "experiment-1-small": dataclasses.replace(
        _SMALL,
        preset="experiment-1-small",
        shares=(4, 12, 0, 4),
        folds=4,
        teacher_once=True,
        methods=_PAPER_ROWS,
    ),
    "experiment-2-small": dataclasses.replace(
        _SMALL,
        preset="experiment-2-small",
        shares=(0, 159, 0, 40),
        folds=5,
        teacher_once=True,
        methods=_ABLATION_ROWS,
    ),
}
