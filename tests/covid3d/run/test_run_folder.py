import dataclasses
import errno

import pytest

from examples.covid3d.common.config import STAGES
from examples.covid3d.common.errors import UserError
from examples.covid3d.common.files import read_json, write_json
from examples.covid3d.run import run_folder
from examples.covid3d.run.run_folder import RunFolder
from tests.covid3d.failing import fail_to_open
from tests.covid3d.running import Killed


def complete(run, *stages):
    for stage in stages:
        with run.working(stage) as folder:
            (folder / "output").write_text(stage)


def interrupted(run):
    with run.working("prepare") as folder:
        (folder / "half").write_text("x")
        raise KeyboardInterrupt


def test_a_stage_is_complete_when_its_folder_has_its_name(tmp_path, tiny):
    run = RunFolder(tmp_path, tiny)
    with run.working("prepare") as folder:
        (folder / "output").write_text("x")
        assert not run.is_complete("prepare")
    assert run.is_complete("prepare")
    assert (run.folder("prepare") / "output").read_text() == "x"
    assert run.seconds("prepare") > 0
    assert not (tmp_path / "prepare.partial").exists()


def test_an_interrupted_stage_keeps_what_it_wrote(tmp_path, tiny):
    run = RunFolder(tmp_path, tiny)
    with pytest.raises(KeyboardInterrupt):
        interrupted(run)
    assert not run.is_complete("prepare")
    with run.working("prepare") as folder:
        assert (folder / "half").exists()


def test_what_was_half_done_under_other_settings_is_discarded(tmp_path, tiny):
    with pytest.raises(KeyboardInterrupt):
        interrupted(RunFolder(tmp_path, tiny))
    other = dataclasses.replace(tiny, phantom_seed=5)
    with RunFolder(tmp_path, other).working("prepare") as folder:
        assert not (folder / "half").exists()


@pytest.mark.parametrize(
    ("change", "first_redone"),
    [
        ({"intensity": "window"}, "prepare"),
        ({"spacing": (9.0, 9.0, 9.0)}, "prepare"),
        ({"teacher_steps": 7}, "teacher"),
        ({"learning_rate": 0.5}, "teacher"),
        ({"overlap": 0.5}, "pseudo-label"),
        ({"student_steps": 7}, "student"),
        ({"student_start": "scratch"}, "student"),
        ({"nsd_tolerance": 1.0}, "evaluate"),
        ({"methods": ("equal",)}, "report"),
        ({"seeds": (0, 1)}, "report"),
        ({"checkpoint_every": 1}, None),
        ({"folds": 2}, "teacher"),
        ({"keep": "best"}, "teacher"),
    ],
)
def test_a_changed_setting_redoes_its_stage_and_those_after(tmp_path, tiny, change, first_redone):
    complete(RunFolder(tmp_path, tiny), *STAGES)
    run = RunFolder(tmp_path, dataclasses.replace(tiny, **change))
    still = [stage for stage in STAGES if run.is_complete(stage)]
    expected = STAGES if first_redone is None else STAGES[: STAGES.index(first_redone)]
    assert still == list(expected)


def test_a_redone_stage_takes_the_place_of_the_old(tmp_path, tiny):
    complete(RunFolder(tmp_path, tiny), "prepare")
    run = RunFolder(tmp_path, dataclasses.replace(tiny, phantom_seed=1))
    with run.working("prepare") as folder:
        (folder / "new").write_text("x")
    assert [path.name for path in run.folder("prepare").iterdir() if path.suffix == ""] == ["new"]


@pytest.mark.parametrize("change", [{"phantom_seed": 1}, {"limit": 2}, {"data": "elsewhere"}])
def test_where_scans_are_from_matters_to_their_preparation_alone(tmp_path, tiny, change):
    """After it they are known by their voxels."""
    complete(RunFolder(tmp_path, tiny), *STAGES)
    run = RunFolder(tmp_path, dataclasses.replace(tiny, **change))
    assert [stage for stage in STAGES if not run.is_complete(stage)] == ["prepare"]


def test_why_a_unit_is_stale_is_said_in_the_words_of_the_options(tmp_path, tiny):
    complete(RunFolder(tmp_path, tiny), "prepare", "teacher")
    run = RunFolder(tmp_path, dataclasses.replace(tiny, learning_rate=0.5, patch=(16, 16, 16)))
    assert run.why_stale("prepare") == []
    why = run.why_stale("teacher")
    assert why == ["--patch 16 16 8 -> 16 16 16", "--learning-rate 0.001 -> 0.5"]
    assert run.why_stale("student") == []


@pytest.mark.parametrize("size", [0, 3])
@pytest.mark.parametrize("name", ["output", "stage.json"])
def test_a_file_that_was_cut_short_makes_its_unit_incomplete(tmp_path, tiny, name, size):
    run = RunFolder(tmp_path, tiny)
    complete(run, "prepare")
    path = run.folder("prepare") / name
    path.write_bytes(path.read_bytes()[:size])
    assert not run.is_complete("prepare")
    (why,) = run.why_stale("prepare")
    assert (
        "cannot be read" in why if name == "stage.json" else f"has {size} bytes, and had 7" in why
    )


@pytest.mark.parametrize("name", ["last.pt", "best.pt", "predictions/case.nii.gz"])
def test_what_takes_space_and_is_not_needed_may_be_deleted(tmp_path, tiny, name):
    run = RunFolder(tmp_path, tiny)
    with run.working("student", ("seed0-fold1", "equal")) as folder:
        for one in (name, "weights.pt"):
            (folder / one).parent.mkdir(exist_ok=True)
            (folder / one).write_text("x")
    folder = run.folder("student", "seed0-fold1", "equal")
    (folder / name).unlink()
    assert run.is_complete("student", "seed0-fold1", "equal")
    (folder / "weights.pt").unlink()
    assert not run.is_complete("student", "seed0-fold1", "equal")


def test_a_record_that_a_disk_hides_for_a_moment_is_not_taken_for_none(tmp_path, tiny, monkeypatch):
    run = RunFolder(tmp_path, tiny)
    complete(run, "prepare")
    with monkeypatch.context() as patched:
        fail_to_open(patched, "stage.json", errno.EIO)
        with pytest.raises(OSError, match="Input/output"):
            run.is_complete("prepare")
    assert run.is_complete("prepare")


def test_a_stage_needs_those_before_it(tmp_path, tiny):
    run = RunFolder(tmp_path, tiny)
    complete(run, "prepare")
    run.require("teacher", "prepare")
    with pytest.raises(UserError, match="`student` needs `teacher/seed0`"):
        run.require("student", "teacher", "seed0")


def test_a_folder_of_somebody_else_is_not_deleted(tmp_path, tiny):
    (tmp_path / "prepare").mkdir()
    (tmp_path / "prepare" / "thesis.txt").write_text("precious")
    with pytest.raises(UserError, match="not a folder of this program"):
        complete(RunFolder(tmp_path, tiny), "prepare")
    assert (tmp_path / "prepare" / "thesis.txt").read_text() == "precious"


def test_a_unit_has_a_folder_of_its_own_within_its_stage(tmp_path, tiny):
    run = RunFolder(tmp_path, tiny)
    for unit in (("seed0-fold1", "equal"), ("seed0-fold1", "random")):
        with run.working("student", unit) as folder:
            (folder / "output").write_text("x")
    assert run.is_complete("student", "seed0-fold1", "equal")
    assert not run.is_complete("student", "seed1-fold1", "equal")
    more = RunFolder(tmp_path, dataclasses.replace(tiny, seeds=(0, 1), methods=("rgs",)))
    assert more.is_complete("student", "seed0-fold1", "random")


def test_seconds_count_interrupted_attempts(tmp_path, tiny):
    run = RunFolder(tmp_path, tiny)
    with pytest.raises(KeyboardInterrupt):
        interrupted(run)
    record = tmp_path / "prepare.partial" / "stage.json"
    write_json(record, read_json(record) | {"seconds": 700.0})
    complete(run, "prepare")
    assert run.seconds("prepare") > 700


def test_killed_while_an_old_unit_is_deleted_goes_on(tmp_path, tiny, monkeypatch):
    complete(RunFolder(tmp_path, tiny), "prepare")
    other = RunFolder(tmp_path, dataclasses.replace(tiny, phantom_seed=1))

    def half(path, *_, **rest):
        if not rest:
            (path / "stage.json").unlink()
            raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(run_folder.shutil, "rmtree", half)
        with pytest.raises(Killed):
            complete(other, "prepare")
    complete(other, "prepare")
    assert other.is_complete("prepare")
    assert [path.name for path in tmp_path.iterdir()] == ["prepare"]


def test_killed_before_a_unit_has_its_record_goes_on(tmp_path, tiny):
    (tmp_path / "prepare.partial").mkdir()
    run = RunFolder(tmp_path, tiny)
    complete(run, "prepare")
    assert run.is_complete("prepare")


def test_units_cleared_at_the_same_time_are_not_in_each_others_way(tmp_path, tiny, monkeypatch):
    """Under --jobs, another process replaces its unit while this one deletes an old one."""
    units = [("seed0-fold1", "equal"), ("seed0-fold1", "random")]

    def fill(config, unit):
        with RunFolder(tmp_path, config).working("student", unit) as folder:
            (folder / "output").write_text(str(config.student_steps))

    for unit in units:
        fill(tiny, unit)
    other = dataclasses.replace(tiny, student_steps=9)
    delete = run_folder.shutil.rmtree
    pending = [units[1]]

    def meanwhile(path, *args, **rest):
        if not rest and pending:
            fill(other, pending.pop())
        delete(path, *args, **rest)

    monkeypatch.setattr(run_folder.shutil, "rmtree", meanwhile)
    fill(other, units[0])
    assert pending == []
    run = RunFolder(tmp_path, other)
    for unit in units:
        assert run.is_complete("student", *unit)
        assert (run.folder("student", *unit) / "output").read_text() == "9"
    assert not list(tmp_path.rglob(".deleted*"))


def test_what_a_killed_process_was_writing_is_swept(tmp_path, tiny):
    run = RunFolder(tmp_path, tiny)
    with pytest.raises(KeyboardInterrupt):
        interrupted(run)
    partial = tmp_path / "prepare.partial"
    (partial / ".partial-77-manifest.csv").write_text("half")
    (partial / "scans" / ".partial-77-scan").mkdir(parents=True)
    (partial / "scans" / ".partial-77-scan" / "image.npy").write_text("half")
    complete(run, "prepare")
    assert not list(tmp_path.rglob(".partial-*"))
    assert (run.folder("prepare") / "half").exists()


def test_a_unit_has_its_settings_wherever_the_data_is(tmp_path, tiny):
    data = tmp_path / "data"
    data.mkdir()
    (data / "scan.nii.gz").write_bytes(b"1")
    config = dataclasses.replace(tiny, data=str(data))
    complete(RunFolder(tmp_path / "run", config), "prepare", "teacher")
    (data / "scan.nii.gz").unlink()
    run = RunFolder(tmp_path / "run", config)
    assert not run.is_complete("prepare")
    assert run.has_settings("teacher")
    assert not run.has_settings("student")
    later = RunFolder(tmp_path / "run", dataclasses.replace(config, student_steps=9))
    assert later.has_settings("teacher")
    other = RunFolder(tmp_path / "run", dataclasses.replace(config, teacher_steps=9))
    assert not other.has_settings("teacher")
    assert other.has_settings("prepare")
