"""Where the numbers of the report come from: data, settings, versions, machine."""

from __future__ import annotations

import dataclasses
import os
import platform
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

import torch

from examples.covid3d.common.config import STAGES, Config, shown_settings
from examples.covid3d.common.files import read_csv, read_json
from examples.covid3d.measure.report.environments import common, differing, made_in, records_in
from examples.covid3d.measure.report.page import html
from examples.covid3d.measure.report.results import Results
from examples.covid3d.measure.report.statistics.paired import FEWEST_SEEDS
from examples.covid3d.run.overwriting import TRAINED
from examples.covid3d.run.presets import PRESETS
from examples.covid3d.scans.manifest import REJECTED, read_manifest


def _versions() -> str:
    names = ("torch", "monai", "nibabel", "numpy", "scipy", "matplotlib")
    found = [f"{name} {metadata.version(name)}" for name in names]
    try:
        found.insert(0, f"torch-reweight {metadata.version('torch-reweight')}")
    except metadata.PackageNotFoundError:
        found.insert(0, "reweight (not installed, run from its sources)")
    return f"Python {platform.python_version()}, " + ", ".join(found)


def _seconds(folder: Path) -> float:
    """Wall-clock seconds of all complete units of a stage."""
    return sum(float(read_json(path).get("seconds", 0)) for path in records_in(folder))


def settings_section(results: Results) -> list[str]:
    """Seed, versions, machine, wall-clock times and every setting."""
    context = results.context
    run = context.run
    seeds = ", ".join(str(seed) for seed in context.config.seeds)
    settings = [(key, str(value)) for key, value in shown_settings(context.config).items()]
    times = [
        (stage, f"{seconds:.0f} s")
        for stage in STAGES[:-1]
        if (seconds := _seconds(run.path / stage)) > 0
    ]
    machine = (
        f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPUs, "
        f"{torch.get_num_threads()} threads, device {context.device}"
    )
    made = made_in(run.path)
    parts = [
        html.heading("Settings, versions, machine, time"),
        html.paragraph(f"Seeds {seeds}. This report: {_versions()}. {machine}."),
    ]
    if made:
        shared = ", ".join(f"{name} {value}" for name, value in common(made).items())
        parts.append(html.paragraph(f"All units of the run were made with: {shared or 'nothing'}."))
        if different := differing(made):
            parts += [html.paragraph("They differ in:"), html.bullets(different)]
    return [
        *parts,
        html.table(("Stage", "Wall clock"), times),
        html.table(("Setting", "Value"), settings, "text"),
    ]


def unlike_trainings(results: Results) -> str:
    """A warning if the trainings compared were not made alike; else empty."""
    different = differing(made_in(results.context.run.path, TRAINED))
    if not different:
        return ""
    return (
        "The trainings were not all made alike, which moves results in the third digit and may "
        f"move them more: {'. '.join(different)}."
    )


def data_section(results: Results) -> list[str]:
    """Which scans were used for what, in the first fold under the first seed."""
    first = results.replicates[0]
    rows = [
        (role, str(len(names)), _USES[role], _listed(names)) for role, names in first.roles.items()
    ]
    config = results.context.config
    entries = read_manifest(results.context.prepared)
    rejected = read_csv(results.context.prepared / REJECTED)
    text = (
        f"{len(entries)} scans of {len({entry.patient for entry in entries})} patients were "
        f"prepared, {len(rejected)} rejected. "
    )
    if config.folds > 1:
        text += f"Every patient is tested in one of {config.folds} folds. "
    elif len(config.seeds) > 1:
        text += "The same patients are tested under every seed. "
    parts = [
        html.heading("Data"),
        html.paragraph(f"{text}Shown: seed {first.seed}, fold {first.fold}."),
        html.table(("Role", "Scans", "Use", "Names"), rows, "text"),
    ]
    if rejected:
        reasons = [(row["where"], row["reason"]) for row in rejected]
        parts.append(html.table(("Rejected", "Reason"), reasons, "text"))
    return parts


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_MOST_NAMES]) + (" ..." * (len(names) > _MOST_NAMES))


_MOST_NAMES = 30
_USES = {
    "teacher": "expert masks; train the teacher",
    "trusted": "expert masks; judge the pseudo-labelled samples",
    "unlabelled": "pseudo-labels of the teacher; train the students",
    "test": "expert masks; held out",
}


def comparison(config: Config) -> str:
    """What the students have in common, and how the settings came about."""
    text = (
        "Rows that draw the same scans see the same batches in the same order, and those that "
        "start alike start from the same state. What a student starts from, and how many steps it "
        "takes after that, is in the table."
    )
    demo = PRESETS["demo"]
    rest = {name: getattr(demo, name) for name in ("methods", "checkpoint_every", "tensorboard")}
    if dataclasses.replace(config, **rest) == demo:
        text += (
            " The settings of the demo, and how its phantoms are drawn, were chosen on phantoms of "
            "other seeds (100 and above), to fit four minutes on two cores and so that knowing the "
            "true quality of the labels is worth something. These phantoms were not looked at."
        )
    return text


def caution(config: Config) -> str:
    """What the numbers are not evidence of."""
    if config.data is None:
        return (
            "Synthetic phantoms: a demonstration that the pipeline works, not evidence that one "
            "method is better than another."
        )
    if len(config.seeds) < FEWEST_SEEDS:
        few = "One seed" if len(config.seeds) == 1 else f"{len(config.seeds)} seeds"
        return (
            f"{few}: what differs here may differ by chance, and is not evidence that one method "
            "is better than another. The test masks are those of the data given, as good as "
            "whoever drew them."
        )
    return "The test masks are those of the data given, as good as whoever drew them."
