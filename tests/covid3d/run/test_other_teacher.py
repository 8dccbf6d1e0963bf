"""Experiment 2: every row under the teacher of another run, and none that has seen a test scan."""

import dataclasses
import gzip
import shutil

import pytest
import torch

from examples.covid3d.common.errors import UserError
from examples.covid3d.common.files import read_csv, read_json, write_json, write_torch
from examples.covid3d.methods.rows import ROWS
from examples.covid3d.run.other_teacher import teacher_for, teachers_in
from examples.covid3d.run.pipeline import run_stages
from examples.covid3d.run.presets import PRESETS
from examples.covid3d.run.run_folder import RunFolder
from examples.covid3d.scans.manifest import read_manifest
from examples.covid3d.scans.splits import plan
from tests.covid3d.running import TRAINED, files_of, hide_masks, nnunet, same, small, weights_in

# Nobody knows the truth of scans that nobody annotated.
UNTOLD = ("supervised", *(method for method in TRAINED if not ROWS[method].told))


def rename(folder, letter):
    """Other patients: cases are told apart by their names."""
    for path in [*folder.glob("*/case*.nii.gz")]:
        path.rename(path.with_name(path.name.replace("case", letter)))
    return folder


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """Experiment 1: a run with a teacher for each of two seeds."""
    folder = tmp_path_factory.mktemp("first")
    data = rename(nnunet(folder / "data", 6, seed=1), "one")
    config = small(data=str(data), seeds=(0, 1), teacher_once=True, methods=("supervised",))
    return run_stages(folder / "run", config, ["prepare", "teacher"])


@pytest.fixture(scope="module")
def second(tmp_path_factory, first):
    """Experiment 2 in its preset's shape, with every row that is not made elsewhere."""
    folder = tmp_path_factory.mktemp("second")
    data = rename(nnunet(folder / "data", 4, seed=2), "two")
    other = nnunet(folder / "other", 3, seed=3)
    hide_masks(other, "case00", "case01", "case02")
    shape = {
        name: getattr(PRESETS["experiment-2"], name)
        for name in ("preset", "shares", "student_start", "schedule", "teacher_once")
    }
    config = small(
        **shape,
        data=str(data),
        unlabelled=str(other),
        unlabelled_kind="nnunet",
        folds=2,
        groups=2,
        student_steps=3,
        teacher_from=str(first.path),
        methods=UNTOLD,
    )
    return run_stages(folder / "run", config)


def test_every_row_is_trained_and_tested_on_every_scan(second):
    assert not (second.path / "teacher").exists()
    rows = read_csv(second.path / "report" / "metrics.csv")
    for method in UNTOLD:
        tested = sorted(row["scan"] for row in rows if row["method"] == method)
        assert tested == ["two00", "two01", "two02", "two03"], method
    text = (second.path / "report" / "report.html").read_text(encoding="utf-8")
    assert "Table 2" in text
    for method in set(PRESETS["experiment-2"].methods):
        assert ROWS[method].label.replace("&", "&amp;").replace("'", "&#x27;") in text


def test_its_teacher_labels_and_is_tested(second, first):
    labels = second.path / "pseudo-label" / "seed0"
    assert {p.name for p in labels.iterdir() if p.is_dir()} == {"case00", "case01", "case02"}
    timing = read_json(second.path / "evaluate" / "seed0-fold1" / "supervised" / "training.json")
    assert timing["steps"] == read_json(first.path / "teacher" / "seed0" / "timing.json")["steps"]


def test_semi_supervised_begins_with_the_first_group_where_the_teacher_has_no_scans(second):
    folder = second.path / "student" / "seed0-fold1" / "semi-supervised"
    assert [row["phase"] for row in read_csv(folder / "steps.csv")] == ["1", "1", "2"]
    assert {path.name for path in (folder / "labels").iterdir()} == {"case00", "case01", "case02"}


def test_teachers_are_taken_by_seed(first):
    folder = first.path / "teacher"
    assert teachers_in(first.path) == [folder / "seed0", folder / "seed1"]
    assert teacher_for(first.path, 1) == folder / "seed1"
    assert teacher_for(first.path, 7) == folder / "seed0"


def test_half_a_teacher_is_none(first, tmp_path):
    shutil.copytree(first.path / "teacher" / "seed0", tmp_path / "teacher" / "seed0.partial")
    with pytest.raises(UserError, match="no trained teacher"):
        teachers_in(tmp_path)


def labelled(tmp_path, first, data, **changes):
    config = small(data=str(data), teacher_from=str(first.path), shares=(0, 1, 1, 1), **changes)
    return run_stages(tmp_path / "run", config, ["prepare", "pseudo-label"])


class TestLeakage:
    """A scan, or a patient, that taught the teacher must not be tested."""

    def test_the_same_data_is_refused(self, tmp_path, first):
        with pytest.raises(UserError, match=r"its teacher was trained on one0.*tested here"):
            labelled(tmp_path, first, first.config.data, folds=3)

    def test_the_same_voxels_under_another_name_are_refused(self, tmp_path, first):
        data = rename(nnunet(tmp_path / "data", 6, seed=1), "else")
        for path in (data / "imagesTr").iterdir():
            path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()), 1))
        with pytest.raises(UserError, match=r"its teacher was trained on else0.*tested here"):
            labelled(tmp_path, first, data, folds=3)

    def test_the_same_patient_in_another_scan_is_refused(self, tmp_path, first):
        data = rename(nnunet(tmp_path / "data", 6, seed=9), "one")
        with pytest.raises(UserError, match=r"its teacher was trained on one0.*tested here"):
            labelled(tmp_path, first, data, folds=3)

    def test_scans_of_a_teacher_of_an_earlier_seed_are_refused(self, tmp_path):
        """The other run's settings name the seeds of its last command, not all of its teachers."""
        data = rename(nnunet(tmp_path / "data", 6, seed=1), "one")
        config = small(data=str(data), methods=("supervised",), seeds=(0, 1, 2))
        run = run_stages(tmp_path / "first", config, ["prepare", "teacher"])
        plans = plan(read_manifest(run.path / "prepare"), config)
        seen = {one.seed: set(one.roles["teacher"]) for one in plans}
        (name, *_) = seen[1] - seen[0]
        run_stages(run.path, dataclasses.replace(config, seeds=(0,)), ["teacher"])
        rename(nnunet(tmp_path / "more", 6, seed=9), "two")
        for kind in ("imagesTr", "labelsTr"):
            file = f"{name}.nii.gz"
            (data / kind / file).rename(tmp_path / "more" / kind / file)
        with pytest.raises(UserError, match=f"its teacher was trained on {name}"):
            labelled(tmp_path, run, tmp_path / "more", folds=7, seeds=(1,))

    def test_other_patients_are_not(self, tmp_path, first):
        data = rename(nnunet(tmp_path / "data", 6, seed=9), "two")
        assert labelled(tmp_path, first, data, folds=3).is_complete("pseudo-label", "seed0")

    def test_those_that_only_test_there_may_train_and_test_here(self, tmp_path, first):
        """Only the teacher's scans count, of every seed."""
        alone = dataclasses.replace(first.config, seeds=(0,))
        copy = tmp_path / "first"
        shutil.copytree(first.path, copy)
        shutil.rmtree(copy / "teacher" / "seed1")
        write_json(copy / "config.json", dataclasses.asdict(alone))
        (replicate,) = plan(read_manifest(copy / "prepare"), alone)
        data = rename(nnunet(tmp_path / "data", 6, seed=1), "one")
        for name in replicate.roles["teacher"]:
            (data / "imagesTr" / f"{name}.nii.gz").unlink()
            (data / "labelsTr" / f"{name}.nii.gz").unlink()
        run = RunFolder(copy, alone)
        assert labelled(tmp_path, run, data, folds=3).is_complete("pseudo-label", "seed0")


@pytest.mark.parametrize(
    "change",
    [
        {"spacing": (2.0, 2.0, 4.0)},
        {"intensity": "zscore"},
        {"window": (-1000.0, 400.0)},
        {"foreground_labels": (1, 2)},
    ],
)
def test_scans_prepared_otherwise_are_refused(tmp_path, first, change):
    data = rename(nnunet(tmp_path / "data", 4, seed=9), "two")
    with pytest.raises(UserError, match=f"use the same --{next(iter(change)).replace('_', '-')}"):
        labelled(tmp_path, first, data, **change)


def test_the_same_teacher_elsewhere_redoes_nothing(tmp_path, first):
    shutil.copytree(first.path, tmp_path / "first")
    data = rename(nnunet(tmp_path / "data", 5, seed=9), "two")
    shares = (0, 2, 1, 2)
    config = small(data=str(data), teacher_from=str(tmp_path / "first"), shares=shares)
    out = run_stages(tmp_path / "run", config, ["prepare", "pseudo-label", "student"]).path
    before = files_of(out / "student")
    shutil.copytree(tmp_path / "first", tmp_path / "moved", copy_function=shutil.copyfile)
    shutil.rmtree(tmp_path / "first")
    moved = dataclasses.replace(config, teacher_from=str(tmp_path / "moved"))
    run_stages(out, moved, ["prepare", "pseudo-label", "student"])
    assert files_of(out / "student") == before


def test_the_settings_of_a_run_that_are_cut_short_are_not_taken_for_defaults(tmp_path, first):
    shutil.copytree(first.path, tmp_path / "first")
    (tmp_path / "first" / "config.json").write_text("")
    data = rename(nnunet(tmp_path / "data", 5, seed=9), "two")
    config = small(data=str(data), teacher_from=str(tmp_path / "first"), shares=(0, 2, 1, 2))
    with pytest.raises(UserError, match=r"first/config.json: cannot be read"):
        run_stages(tmp_path / "run", config, ["prepare", "pseudo-label"])


def test_a_teacher_trained_anew_redoes_what_depends_on_it(tmp_path, first):
    copy = tmp_path / "first"
    shutil.copytree(first.path, copy)
    data = rename(nnunet(tmp_path / "data", 5, seed=9), "two")
    config = small(
        data=str(data), teacher_from=str(copy), shares=(0, 2, 1, 2), student_start="teacher"
    )
    out = run_stages(tmp_path / "run", config, ["prepare", "pseudo-label", "student"]).path
    student = out / "student" / "seed0-fold1" / "equal"
    weights, prepared = weights_in(student), files_of(out / "prepare")
    teacher = copy / "teacher" / "seed0" / "weights.pt"
    state = torch.load(teacher, weights_only=True)
    write_torch(teacher, {k: v + 0.01 if v.is_floating_point() else v for k, v in state.items()})
    assert not RunFolder(out, config).is_complete("student", "seed0-fold1", "equal")
    with pytest.raises(UserError, match="`student` needs `pseudo-label/seed0`"):
        run_stages(out, config, ["student"], redo=True)
    labels = files_of(out / "pseudo-label")
    with pytest.raises(UserError, match=r"(?s)student/seed0-fold1/equal.*another teacher.*--redo"):
        run_stages(out, config, ["prepare", "pseudo-label", "student"])
    assert same(weights_in(student), weights)
    assert files_of(out / "pseudo-label") == labels
    run_stages(out, config, ["prepare", "pseudo-label", "student"], redo=True)
    assert not same(weights_in(student), weights)
    assert files_of(out / "prepare") == prepared
