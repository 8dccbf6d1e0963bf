"""Runs a trial: every training, then its tables."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch

from examples.covid3d.audit.trial.cohort import Cohort, deal, give_masks
from examples.covid3d.audit.trial.settings import Settings
from examples.covid3d.audit.trial.tables import write_tables
from examples.covid3d.audit.trial.units import AUDIT, Unit, train_unit, units_of
from examples.covid3d.common.errors import problem
from examples.covid3d.common.files import read_json, write_json
from examples.covid3d.run.lock import locked
from examples.covid3d.run.parallel import in_parallel
from examples.covid3d.run.pipeline import run_stages
from examples.covid3d.scans.manifest import read_manifest

_SETTINGS = "trial.json"


def run_trial(
    data: str,
    settings: Settings,
    out: Path,
    device: torch.device | None = None,
    jobs: int = 1,
) -> Path:
    """Runs a trial; what is complete is skipped, what was interrupted is resumed.

    Args:
        data: Folder of Task04 Hippocampus of the Medical Segmentation Decathlon.
        settings: Settings.
        out: Folder of the trial.
        device: Where to compute; the CPU by default.
        jobs: Trainings at the same time, each in a process of its own.

    Returns:
        The file of the tables.

    Raises:
        UserError: If ``out`` holds a trial of other settings or scans, or there are too few scans.
    """
    if max(settings.trusted) > settings.set_aside:
        raise problem(
            "--trusted",
            str(max(settings.trusted)),
            f"at most {settings.set_aside}",
            "choose fewer: the audited scans are the same for every number",
        )
    run_stages(out, settings.config(data), ["prepare"])
    # Of its own, for the pipeline holds that of the folder while it prepares.
    with locked(out / "trial"):
        _same_settings(settings, out)
        cohorts = {seed: cohort_of(data, settings, seed, out, device) for seed in settings.seeds}
        for cohort in cohorts.values():
            give_masks(cohort)
        # Rows that go by an audit come after all audits, so that any order of units will do.
        todo = [unit for unit in units_of(settings) if not unit.done(out)]
        for wave in (
            [unit for unit in todo if unit.row == AUDIT],
            [unit for unit in todo if unit.row != AUDIT],
        ):
            _work(wave, data, settings, out, device, jobs)
        return write_tables(out, settings, {seed: one.kinds() for seed, one in cohorts.items()})


def cohort_of(
    data: str, settings: Settings, seed: int, out: Path, device: torch.device | None = None
) -> Cohort:
    """The scans of one seed."""
    entries = [entry for entry in read_manifest(out / "prepare") if entry.has_mask]
    least = settings.tested * (2 if settings.validation else 1) + settings.teacher_scans
    least += settings.set_aside + 20
    if len(entries) < least:
        raise problem(
            data, f"{len(entries)} scans with a mask", f"at least {least}", "take the whole set"
        )
    return deal(entries, settings, seed, settings.config(data), out, device)


def _same_settings(settings: Settings, out: Path) -> None:
    scans = sorted(
        (one.name, one.sha256, one.mask_sha256) for one in read_manifest(out / "prepare")
    )
    digest = hashlib.sha256(repr(scans).encode()).hexdigest()
    wanted, path = settings.to_json() | {"scans": digest}, out / _SETTINGS
    found = read_json(path)
    if found and found != wanted:
        differ = sorted(key for key in wanted if found.get(key) != wanted[key])
        raise problem(
            out, f"a trial with other {', '.join(differ)}", "the same", "choose another --out"
        )
    write_json(path, wanted)


def _work(
    todo: list[Unit],
    data: str,
    settings: Settings,
    out: Path,
    device: torch.device | None,
    jobs: int,
) -> None:
    if jobs == 1 or len(todo) < 2:
        for unit in todo:
            train(unit, data, settings, out, device)
        return
    tasks = [(unit, data, settings, out, device) for unit in todo]
    in_parallel(train, tasks, jobs, "trainings", lambda _: None)


def train(
    unit: Unit, data: str, settings: Settings, out: Path, device: torch.device | None
) -> None:
    """Trains one unit, in this process."""
    train_unit(unit, cohort_of(data, settings, unit.seed, out, device), settings, out)
