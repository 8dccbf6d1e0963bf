"""Where the numbers of the report come from: data, settings, versions, machine."""

from __future__ import annotations

import dataclasses
import os
import platform
from importlib import metadata

import torch

from examples.covid3d.config import PRESETS, STAGES, Config, to_json
from examples.covid3d.patients import ROLES
from examples.covid3d.prepare import load_sources
from examples.covid3d.report import html
from examples.covid3d.stages import Context


def _versions() -> str:
    names = ("torch", "monai", "nibabel", "numpy", "matplotlib")
    found = [f"{name} {metadata.version(name)}" for name in names]
    try:
        found.insert(0, f"torch-reweight {metadata.version('torch-reweight')}")
    except metadata.PackageNotFoundError:
        found.insert(0, "reweight (not installed, run from its sources)")
    return f"Python {platform.python_version()}, " + ", ".join(found)


def settings_section(context: Context) -> list[str]:
    """Seed, versions, machine, wall-clock times and every setting."""
    run = context.run
    settings = [(key, str(value)) for key, value in to_json(context.config).items()]
    times = [(stage, f"{run.seconds(stage):.0f} s") for stage in STAGES if stage != "report"]
    machine = (
        f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPUs, "
        f"{torch.get_num_threads()} threads, device {context.device}"
    )
    return [
        html.heading("Settings, versions, machine, time"),
        html.paragraph(f"Seed {context.config.seed}. {_versions()}. {machine}."),
        html.table(("Stage", "Wall clock"), times),
        html.table(("Setting", "Value"), settings, "text"),
    ]


def data_section(context: Context) -> list[str]:
    """Which scans were used for what."""
    prepared = context.run.folder("prepare")
    counts = {role: load_sources(prepared, role) for role in ROLES}
    uses = {
        "teacher": "expert masks; train the teacher",
        "trusted": "expert masks; judge the pseudo-labelled samples",
        "unlabelled": "pseudo-labels of the teacher; train the students",
        "test": "expert masks; held out",
    }
    rows = [
        (role, str(len(sources)), uses[role], ", ".join(source.name for source in sources))
        for role, sources in counts.items()
    ]
    return [html.heading("Data"), html.table(("Role", "Scans", "Use", "Names"), rows, "text")]


def comparison(config: Config) -> str:
    """What the students have in common, and how the settings came about."""
    start = {
        "teacher": "the teacher's weights",
        "scratch": "the random initial state that the teacher started from too",
    }[config.student_start]
    text = (
        f"Every student starts from {start} and takes {config.student_steps} steps on the same "
        f"pseudo-labelled batches; the teacher took {config.teacher_steps} steps."
    )
    demo = PRESETS["demo"]
    rest = {name: getattr(demo, name) for name in ("methods", "checkpoint_every")}
    if dataclasses.replace(config, **rest) == demo:
        text += (
            " The settings of the demo were chosen with this seed, to fit three minutes on two "
            "cores and by the Dice of the teacher and of the student with equal weights. No "
            "student that reweights had a say in them."
        )
    return text


def caution(config: Config) -> str:
    """What the numbers are not evidence of."""
    if config.benchmark is None:
        return (
            "This is one run with one seed on synthetic phantoms: a demonstration that the "
            "pipeline works, not evidence that one method is better than another."
        )
    return (
        "This is one run with one seed on a handful of scans and a short training: a demonstration "
        "that the pipeline works, not evidence that one method is better than another. The test "
        "masks are those of the folder given, as good as whoever drew them."
    )
