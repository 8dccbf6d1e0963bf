"""What counts as the same, what is not lost unasked, and what a failure leaves behind."""

import dataclasses
import errno
import os
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from examples.covid3d.common.config import STAGES
from examples.covid3d.common.errors import UserError
from examples.covid3d.common.files import read_csv, read_json, write_json, write_nifti
from examples.covid3d.run import pipeline, units
from examples.covid3d.run.environment import environment
from examples.covid3d.run.pipeline import run_stages
from examples.covid3d.run.run_folder import RunFolder
from examples.covid3d.scans.manifest import read_manifest
from examples.covid3d.scans.prepare_scan import load_scan
from examples.covid3d.train import training
from tests.covid3d.running import files_of, nnunet, small

TRAINED = ("teacher", "student")


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A finished run on six scans, of which the images are links to a store elsewhere."""
    folder = tmp_path_factory.mktemp("original")
    data = nnunet(folder / "store", 6)
    (folder / "data" / "imagesTr").mkdir(parents=True)
    for path in sorted((data / "imagesTr").iterdir()):
        (folder / "data" / "imagesTr" / path.name).symlink_to(path)
    (folder / "data" / "labelsTr").symlink_to(data / "labelsTr", target_is_directory=True)
    go(folder)
    return folder


@pytest.fixture
def place(original, tmp_path):
    """A copy of it with the same times, at a path of its own, links and all."""
    shutil.copytree(original, tmp_path / "here", symlinks=True)
    for path in (tmp_path / "here" / "data").rglob("*"):
        if path.is_symlink():
            target = tmp_path / "here" / path.readlink().relative_to(original)
            is_folder = target.is_dir()
            path.unlink()
            path.symlink_to(target, target_is_directory=is_folder)
    return tmp_path / "here"


def config_of(place, **changes):
    return small(data=str(place / "data"), shares=(1, 1, 1, 3), **changes)


def go(place, redo=False, **changes):
    """All stages but the report, which takes longest and loses nothing."""
    return run_stages(place / "run", config_of(place, **changes), STAGES[:-1], redo=redo)


def metrics(place):
    rows = read_csv(place / "run" / "evaluate" / "seed0-fold1" / "equal" / "metrics.csv")
    return {row["scan"]: row for row in rows}


def trained(place):
    return {stage: files_of(place / "run" / stage) for stage in TRAINED}


def role(place, name):
    """Scans with a role, of the run's only replicate."""
    record = read_json(place / "run" / "evaluate" / "seed0-fold1" / "equal" / "stage.json")
    record = (
        record["inputs"]["scans"]
        | read_json(place / "run" / "student" / "seed0-fold1" / "equal" / "stage.json")["inputs"][
            "scans"
        ]
    )
    return sorted(scan for scan, (own, *_) in record.items() if own == name)


def redraw(place, scan):
    path = place / "store" / "labelsTr" / f"{scan}.nii.gz"
    image = nibabel.load(path)
    write_nifti(path, np.roll(np.asarray(image.dataobj), 2, 0), image.affine)


def test_a_fresh_copy_of_the_data_at_another_path_trains_nothing_again(place, caplog):
    caplog.set_level("INFO")
    before = trained(place)
    run = go(place)
    assert trained(place) == before
    assert "prepare: again, because --data" in caplog.text
    images = {entry.image for entry in read_manifest(run.folder("prepare"))}
    assert all(image.startswith(str(place / "data")) for image in images)


@pytest.mark.parametrize("name", [".DS_Store", "README.md", "imagesTr/notes.txt", "labelsTr/._x"])
def test_an_unrelated_new_file_trains_nothing_again(place, name, monkeypatch):
    go(place)
    before = trained(place)
    (place / "data" / name).write_text("hello")
    monkeypatch.setattr(
        "examples.covid3d.scans.prepare_scan.load_scan", lambda _: pytest.fail("read")
    )
    go(place)
    assert trained(place) == before


def test_bytes_that_were_touched_or_packed_otherwise_train_nothing_again(place):
    before = trained(place)
    for path in (place / "store").glob("*/*"):
        path.touch()
    path = place / "store" / "imagesTr" / "case02.nii.gz"
    image = nibabel.load(path)
    voxels, affine = np.asarray(image.dataobj), image.affine
    path.unlink()
    write_nifti(path, voxels.astype(np.int32), affine)
    go(place)
    assert trained(place) == before


def test_a_test_scan_s_mask_that_changed_behind_a_link_is_noticed_and_measured_anew(place, caplog):
    caplog.set_level("INFO")
    go(place)
    before = trained(place)
    rows = metrics(place)
    (scan, *others) = role(place, "test")
    redraw(place, scan)
    go(place)
    assert trained(place) == before
    assert f"evaluate/seed0-fold1/equal: again, because another mask: {scan}" in caplog.text
    after = metrics(place)
    assert after[scan] != rows[scan]
    assert all(after[name] == rows[name] for name in others)


def test_old_and_new_truths_do_not_meet_between_two_commands(place):
    go(place)
    (scan, *_) = role(place, "test")
    redraw(place, scan)
    more = config_of(place, methods=("supervised", "equal", "random"))
    for stage in ("student", "evaluate", "report"):
        with pytest.raises(UserError, match="files of the data"):
            run_stages(place / "run", more, [stage])


def test_a_mask_that_changes_while_rows_are_evaluated_stops_the_evaluation(place, monkeypatch):
    go(place)
    (scan, *_) = role(place, "test")
    monkeypatch.setattr(pipeline.RunFolder, "_files", "the same")
    redraw(place, scan)
    shutil.rmtree(place / "run" / "evaluate")
    path = place / "run" / "prepare" / "stage.json"
    record = read_json(path)
    record["inputs"]["files"] = "the same"
    write_json(path, record)
    with pytest.raises(UserError, match="another mask than when the scan was prepared"):
        run_stages(place / "run", config_of(place), ["evaluate"])


def test_a_training_scan_s_mask_that_changed_is_not_trained_on_unasked(place):
    go(place)
    before = files_of(place / "run")
    (scan,) = role(place, "teacher")
    redraw(place, scan)
    with pytest.raises(UserError) as caught:
        go(place)
    assert "teacher/seed0-fold1, student/seed0-fold1/equal" in str(caught.value)
    assert f"another mask: {scan}" in str(caught.value)
    assert "--redo" in str(caught.value)
    # What was finished is as it was, the prepared scans included.
    after = files_of(place / "run")
    assert {name: after[name] for name in before if name != ".lock"} == {
        name: time for name, time in before.items() if name != ".lock"
    } | {"config.json": after["config.json"]}
    assert (place / "run" / "prepare.partial").is_dir()
    go(place, redo=True)
    assert all(trained(place)[stage] != before for stage in TRAINED)
    go(place)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"teacher_steps": 3}, "--teacher-steps 2 -> 3"),
        ({"student_steps": 3}, "--student-steps 2 -> 3"),
        ({"overlap": 0.5}, "--overlap 0.0 -> 0.5"),
        ({"spacing": (2.5, 2.0, 3.0)}, "--spacing 2.0 2.0 3.0 -> 2.5 2.0 3.0"),
    ],
)
def test_a_changed_setting_stops_before_anything_finished_is_lost(place, change, said):
    go(place)
    before = files_of(place / "run")
    kept = (place / "run" / "config.json").read_text()
    with pytest.raises(UserError) as caught:
        go(place, **change)
    assert said in str(caught.value)
    before.pop(".lock")
    after = files_of(place / "run")
    after.pop(".lock")
    assert after == before
    assert (place / "run" / "config.json").read_text() == kept


def test_redo_trains_again_what_the_setting_is_for_and_no_more(place):
    go(place)
    before = trained(place)
    go(place, redo=True, student_steps=3)
    after = trained(place)
    assert after["teacher"] == before["teacher"]
    assert after["student"] != before["student"]


def test_a_setting_of_measuring_alone_asks_for_nothing(place):
    before = trained(place)
    go(place, nsd_tolerance=1.0)
    assert trained(place) == before


def test_a_training_with_a_checkpoint_is_not_discarded_unasked_either(tmp_path, monkeypatch):
    config = small(data=str(nnunet(tmp_path / "data", 6)), shares=(1, 1, 1, 3), student_steps=4)
    run_stages(tmp_path / "run", config, ["prepare", "teacher", "pseudo-label"])
    take = training._Run.take

    def stop(self, rate):
        if self.step == 3:
            raise KeyboardInterrupt
        return take(self, rate)

    with monkeypatch.context() as patched:
        patched.setattr(training._Run, "take", stop)
        with pytest.raises(KeyboardInterrupt):
            run_stages(tmp_path / "run", config, ["student"])
    assert (tmp_path / "run/student/seed0-fold1/equal.partial/last.pt").is_file()
    other = dataclasses.replace(config, student_steps=5)
    with pytest.raises(UserError, match="--student-steps 4 -> 5"):
        run_stages(tmp_path / "run", other, ["student"])
    run_stages(tmp_path / "run", config, ["student"])


class TestFailing:
    """A command that fails leaves the settings of a finished run as they were."""

    def test_before_anything_was_done(self, place, monkeypatch):
        go(place)
        kept = (place / "run" / "config.json").read_text()

        def full(*_, **__):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr("examples.covid3d.train.training.write_torch", full)
        with pytest.raises(OSError, match="No space"):
            go(place, redo=True, teacher_steps=3)
        assert (place / "run" / "config.json").read_text() == kept
        go(place)

    def test_when_the_scans_cannot_be_prepared(self, place):
        go(place)
        kept = (place / "run" / "config.json").read_text()
        for path in (place / "store" / "imagesTr").iterdir():
            path.write_bytes(b"x")
        with pytest.raises(UserError, match="none of 6"):
            go(place, nsd_tolerance=2.0)
        assert (place / "run" / "config.json").read_text() == kept

    def test_of_a_new_folder_leaves_none(self, tmp_path):
        data = nnunet(tmp_path / "data", 2)
        for path in (data / "imagesTr").iterdir():
            path.write_bytes(b"x")
        with pytest.raises(UserError, match="none of 2"):
            run_stages(tmp_path / "run", small(data=str(data)))
        assert not (tmp_path / "run" / "config.json").exists()

    def test_but_one_that_is_interrupted_goes_on_with_the_new_ones(self, place, monkeypatch):
        go(place)
        more = config_of(place, methods=("supervised", "equal", "random"))

        def interrupt(*_):
            raise KeyboardInterrupt

        with monkeypatch.context() as patched:
            patched.setattr(units, "train_student", interrupt)
            with pytest.raises(KeyboardInterrupt):
                run_stages(place / "run", more)
        assert "random" in read_json(place / "run" / "config.json")["methods"]


class TestRejected:
    """What was rejected is tried again by the next `prepare` or `run`."""

    def test_a_scan_that_was_mended_joins(self, tmp_path, caplog):
        caplog.set_level("INFO")
        data = nnunet(tmp_path / "data", 7)
        path = data / "imagesTr" / "case03.nii.gz"
        good, times = path.read_bytes(), path.stat()
        path.write_bytes(bytes(len(good)))
        config = small(data=str(data), shares=(1, 1, 1, 3))
        run = run_stages(tmp_path / "run", config, ["prepare"])
        assert len(read_manifest(run.folder("prepare"))) == 6
        run_stages(tmp_path / "run", config, ["prepare"])
        assert "1 rejected scans tried again, none is usable now" in caplog.text
        path.write_bytes(good)
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
        run_stages(tmp_path / "run", config, ["prepare"])
        assert len(read_manifest(run.folder("prepare"))) == 7

    def test_so_does_one_that_a_later_program_can_read(self, tmp_path, monkeypatch, caplog):
        caplog.set_level("INFO")
        config = small(data=str(nnunet(tmp_path / "data", 7)), shares=(1, 1, 1, 3))

        def narrow(scan):
            if scan.name == "case03":
                raise UserError("case03: of a kind that nobody reads")
            return load_scan(scan)

        with monkeypatch.context() as patched:
            patched.setattr("examples.covid3d.scans.prepare_scan.load_scan", narrow)
            run = run_stages(tmp_path / "run", config, ["prepare"])
        assert len(read_manifest(run.folder("prepare"))) == 6
        run_stages(tmp_path / "run", config, ["prepare"])
        assert len(read_manifest(run.folder("prepare"))) == 7
        assert "what was rejected can be read now: case03" in caplog.text


def test_each_unit_records_on_what_it_was_made(place):
    for stage in STAGES[:-1]:
        for path in (place / "run" / stage).rglob("stage.json"):
            (made,) = read_json(path)["made"]
            assert made == environment(torch.device("cpu"), 1)
    assert {"threads", "jobs", "python", "monai", "numpy", "reweight", "commit"} <= set(made)
    assert (made["device"], made["torch"]) == ("cpu", torch.__version__)


def test_one_of_several_jobs_does_too(place):
    config = config_of(place, methods=("random",))
    run_stages(place / "run", config, ["prepare"])
    unit = ("seed0-fold1", "random")
    pipeline._fill(place / "run", config, torch.device("cpu"), "student", unit, 3)
    (made,) = read_json(place / "run" / "student" / Path(*unit) / "stage.json")["made"]
    assert made["jobs"] == 3


def test_a_unit_that_goes_on_with_other_threads_says_so_and_records_both(tmp_path, tiny, caplog):
    run = RunFolder(tmp_path, tiny)
    one = environment(torch.device("cpu"))
    with pytest.raises(KeyboardInterrupt), run.working("prepare", made=one):
        raise KeyboardInterrupt
    two = one | {"threads": 77}
    with run.working("prepare", made=two):
        pass
    assert run.record("prepare")["made"] == [one, two]
    assert f"threads {one['threads']} -> 77" in caplog.text
