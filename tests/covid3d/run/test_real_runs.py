"""Whole runs on real scans, in tiny settings. Skipped where the data are not at hand."""

import dataclasses
import warnings

import nibabel
import numpy as np

from examples.covid3d.common.config import Config
from examples.covid3d.common.files import read_csv
from examples.covid3d.run.pipeline import run_stages
from examples.covid3d.scans.manifest import read_manifest
from examples.covid3d.scans.phantoms.cohort import IMAGES, MASKS

TINY = Config(
    preset="small",
    channels=(4, 8, 16),
    batch_size=2,
    teacher_steps=4,
    student_steps=4,
    groups=1,
    checkpoint_every=10,
    validate_every=10,
    overlap=0.0,
)


def finite(rows):
    keys = ("dice", "hd_mm", "hd95_mm", "nsd", "expert_ml", "predicted_ml")
    return all(np.isfinite(float(row[key])) for row in rows for key in keys)


def test_hippocampus(real_data, tmp_path):
    config = dataclasses.replace(
        TINY,
        data=str(real_data / "hippocampus"),
        seeds=(0, 1),
        limit=16,
        foreground_labels=(1, 2),
        intensity="zscore",
        spacing=(1.0, 1.0, 1.0),
        patch=(32, 32, 32),
        shares=(4, 4, 4, 4),
        methods=("supervised", "supervised-all", "rgsm-al", "equal"),
    )
    run = run_stages(tmp_path, config)
    entries = read_manifest(run.folder("prepare"))
    assert len(entries) == 16
    assert {entry.spacing for entry in entries} == {(1.0, 1.0, 1.0)}
    # A hippocampus has some 3 millilitres.
    assert all(1 < entry.foreground_ml < 8 for entry in entries)
    rows = read_csv(run.folder("report") / "metrics.csv")
    assert len(rows) == 4 * 4 * 2
    assert finite(rows)
    # The same patients are tested under every seed, each row and scan differs in its Dice.
    tested = {(row["seed"], row["scan"]) for row in rows}
    assert {scan for seed, scan in tested if seed == "0"} == {s for k, s in tested if k == "1"}
    assert len({row["dice"] for row in rows}) > 8
    assert (run.folder("report") / "seeds.csv").exists()
    samples = read_csv(run.folder("evaluate", "seed1-fold1", "rgsm-al") / "samples.csv")
    assert len({row["pseudo_dice"] for row in samples}) > 2


def thinned(folder, target):
    """Every third voxel of a row and column and every second slice of the scans and their masks."""
    for kind in (IMAGES, MASKS):
        (target / kind).mkdir(parents=True)
        for path in sorted((folder / kind).iterdir()):
            nibabel.save(nibabel.load(path).slicer[::3, ::3, ::2], target / kind / path.name)
    return target


def test_covid_ct_in_folds_by_patient(real_data, tmp_path):
    data = thinned(real_data / "covid_ct", tmp_path / "data")
    config = dataclasses.replace(
        TINY,
        data=str(data),
        folds=2,
        spacing=(5.0, 5.0, 6.0),
        patch=(32, 32, 16),
        shares=(0.3, 0.2, 0.2, 0.3),
        methods=("supervised", "semi-supervised", "rgsm-al", "supervised-all"),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run = run_stages(tmp_path / "run", config)
    entries = read_manifest(run.folder("prepare"))
    assert {entry.scale for entry in entries} == {"0..255"}
    rows = read_csv(run.folder("report") / "metrics.csv")
    assert finite(rows)
    for method in config.methods:
        own = [row for row in rows if row["method"] == method]
        assert sorted(row["scan"] for row in own) == sorted(entry.name for entry in entries)
        assert {row["fold"] for row in own} == {"1", "2"}
    assert (run.folder("report") / "folds.csv").exists()
    assert len(entries) == 10
