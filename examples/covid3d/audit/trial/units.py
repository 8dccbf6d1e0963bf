"""One training of the trial, and what is kept of it."""

from __future__ import annotations

import dataclasses
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from examples.covid3d.audit import doubt
from examples.covid3d.audit.drawing import Drawing
from examples.covid3d.audit.quality import assess
from examples.covid3d.audit.students import MEMORY, drawn_by_others, train_row
from examples.covid3d.audit.trial.cleanlab_scores import cleanlab_quality
from examples.covid3d.audit.trial.cohort import Cohort, give_masks, on_working_grid
from examples.covid3d.audit.trial.settings import SOUND, Settings
from examples.covid3d.common.files import read_csv, read_json, write_array, write_csv, write_json
from examples.covid3d.measure.metrics import dice
from examples.covid3d.scans.geometry import resample
from examples.covid3d.scans.store import stored, write_labels
from examples.covid3d.train.inference import load_network
from examples.covid3d.train.lesson import Lesson

RESULT, TIME, ASSESSED, SAMPLES = "result.json", "time.json", "audit.csv", "samples.csv"
AUDIT = "audit"
_JUDGES = ("supervised-trusted", "supervised-trusted+", "equal-trusted", "rgs-scan")
"""Rows whose drawings are held beside the given masks, as detectors to compare with."""


@dataclass(frozen=True)
class Unit:
    """One training.

    Attributes:
        seed: Of its cohort.
        trusted: Number of trusted scans; 0 for a row that uses none.
        row: A row, or ``audit``: the two students of the audit.
    """

    seed: int
    trusted: int
    row: str

    def folder(self, out: Path) -> Path:
        """Where it lies."""
        return out / f"seed{self.seed}" / f"trusted{self.trusted}" / self.row

    def done(self, out: Path) -> bool:
        """Whether its result is there."""
        return bool(read_json(self.folder(out) / RESULT))


def units_of(settings: Settings) -> list[Unit]:
    """Every training of a trial, row by row; audits are before the rows that go by them."""
    return [
        Unit(seed, 0 if row == "equal" else trusted, row)
        for trusted in settings.trusted
        for row in (AUDIT, *settings.rows)
        for seed in settings.seeds
        if row != "equal" or trusted == settings.trusted[0]
    ]


def train_unit(unit: Unit, cohort: Cohort, settings: Settings, out: Path) -> None:
    """Trains a unit and writes what it found; resumes what was interrupted."""
    folder = unit.folder(out)
    give_masks(cohort)
    before: dict[str, float] = read_json(folder / TIME)
    start = (time.perf_counter(), time.process_time())
    try:
        result = _audit(unit, cohort, settings, folder) if unit.row == AUDIT else None
        result = result or _row(unit, cohort, out, folder)
    finally:
        took = {
            "seconds": before.get("seconds", 0.0) + time.perf_counter() - start[0],
            "processor_seconds": before.get("processor_seconds", 0.0)
            + time.process_time()
            - start[1],
        }
        write_json(folder / TIME, took)
    write_json(folder / RESULT, {**dataclasses.asdict(unit), **result, **took})


def _row(unit: Unit, cohort: Cohort, out: Path, folder: Path) -> dict[str, Any]:
    kinds = cohort.kinds()
    row, turned = unit.row.removesuffix("+"), unit.row.endswith("+")
    lesson = cohort.lesson(folder, unit.trusted, turned=turned)
    if row == "oracle":
        sound = [name for name in cohort.audited if kinds[name] == SOUND]
        lesson = cohort.lesson(folder, unit.trusted, turned=turned, audited=sound)
        row = "equal-trusted"
    elif row == "audited":
        lesson = dataclasses.replace(lesson, labels=_mended(unit, cohort, out, folder))
        row = "equal-trusted"
    weights = train_row(lesson, row, f"seed {unit.seed}, {unit.trusted} trusted, {unit.row}")
    network = load_network(weights, lesson.device)
    result: dict[str, Any] = {"test": _test(cohort, lesson, network)}
    result["share_sound"] = _share_sound(folder, kinds)
    found: dict[str, dict[str, float]] = {}
    if unit.row in _JUDGES:
        drawings = [_drawing(cohort, lesson, network, name) for name in cohort.audited]
        found["agreement"] = {one.name: dice(one.given, one.expected) for one in drawings}
        found["cleanlab"] = {one.name: cleanlab_quality(one) for one in drawings}
    if (folder / MEMORY).exists():
        memory = read_csv(folder / MEMORY)
        found["memory"] = {one["scan"]: float(one["memory"]) for one in memory}
        found["mean loss"] = {one["scan"]: -float(one["mean_loss"]) for one in memory}
    return {**result, "quality": found}


def _test(cohort: Cohort, lesson: Lesson, network: nn.Module) -> dict[str, float]:
    """Dice of every tested scan on its own grid."""
    scores = {}
    for name in cohort.test:
        scan = stored(cohort.prepared, name)
        mask = scan.to_own_grid(lesson.probability(network, scan))
        scores[name] = dice(mask, cohort.expert(name))
    return scores


def _share_sound(folder: Path, kinds: dict[str, str]) -> float:
    """Share of all weight that fell on sound masks; NaN where a row weighs nothing."""
    if not (folder / SAMPLES).exists():
        return math.nan
    samples = read_csv(folder / SAMPLES)
    weights = np.asarray([float(one["weight"]) for one in samples])
    sound = np.asarray([kinds.get(one["scan"]) == SOUND for one in samples], bool)
    return float(weights[sound].sum() / weights.sum()) if weights.sum() > 0 else math.nan


def _drawing(cohort: Cohort, lesson: Lesson, network: nn.Module, name: str) -> Drawing:
    scan = stored(cohort.prepared, name)
    return _beside(cohort, name, lesson.probability(network, scan), cohort.given_mask(name))


def _beside(cohort: Cohort, name: str, probability: Tensor, given: Any) -> Drawing:
    scan = stored(cohort.prepared, name)
    own = resample(probability.float(), scan.grid, scan.own_grid, "linear").numpy()
    return Drawing(name, given, own, scan.own_grid.spacing)


def _audit(unit: Unit, cohort: Cohort, settings: Settings, folder: Path) -> dict[str, Any]:
    """The two students, and what they say of every mask."""
    lesson = cohort.lesson(folder, unit.trusted, turned=True)
    config = dataclasses.replace(lesson.config, student_steps=settings.audit_steps)
    lesson = dataclasses.replace(lesson, config=config)
    drawn = drawn_by_others(lesson, f"seed {unit.seed}, {unit.trusted} trusted, audit")
    audited = [_beside(cohort, n, drawn[n], cohort.given_mask(n)) for n in cohort.audited]
    names = lesson.replicate.roles["trusted"]
    trusted = [_beside(cohort, name, drawn[name], cohort.expert(name)) for name in names]
    for one in audited + trusted:
        write_array(folder / "drawn" / f"{one.name}.npy", one.probability.astype(np.float16))
    found = assess(audited, trusted)
    kinds = cohort.kinds()
    write_csv(folder / ASSESSED, [{**one.to_row(), "kind": kinds[one.scan]} for one in found])
    return {
        "quality": {
            "audit": {one.scan: -one.distance for one in found},
            "audit without smoothness": {
                one.scan: -math.hypot(one.beyond["agreement"], one.beyond["shift"]) for one in found
            },
            "agreement": {one.name: dice(one.given, one.expected) for one in audited},
            "cleanlab": {one.name: cleanlab_quality(one) for one in audited},
        }
    }


def _mended(unit: Unit, cohort: Cohort, out: Path, folder: Path) -> Path:
    """Writes the given masks, and where they are in doubt those that the audit's students drew."""
    audit = Unit(unit.seed, unit.trusted, AUDIT).folder(out)
    labels = folder / "labels"
    for row in read_csv(audit / ASSESSED):
        name = row["scan"]
        scan = stored(cohort.prepared, name)
        if row["doubt"] == doubt.SOUND:
            mask = cohort.given_mask(name)
        else:
            drawn = np.load(audit / "drawn" / f"{name}.npy").astype(np.float32)
            mask = (drawn > 0.5).astype(np.uint8)
        write_labels(labels / name, on_working_grid(scan, mask))
    return labels
