"""Files that a full disk or a power cut left empty or half: found, said, and made anew."""

import shutil

import numpy as np
import pytest

from examples.covid3d.common.config import STAGES
from examples.covid3d.common.errors import UserError
from examples.covid3d.common.files import read_csv, read_torch
from examples.covid3d.run.pipeline import run_stages
from examples.covid3d.run.run_folder import RunFolder
from examples.covid3d.scans.manifest import read_manifest
from examples.covid3d.scans.store import mapped
from examples.covid3d.train import training
from tests.covid3d.running import Killed, files_of, nnunet, same, small, weights_in

EQUAL = "seed0-fold1/equal"
MADE_ANEW = [
    "prepare/manifest.csv",
    "prepare/scans/case00/image.npy",
    "prepare/scans/case00/mask.npy",
    "prepare/scans/case01/foreground.npy",
    "prepare/scans/case01/grids.json",
    "prepare/scans/case01/record.json",
    "prepare/stage.json",
    "teacher/seed0-fold1/weights.pt",
    "pseudo-label/seed0-fold1/UNLABELLED/mask.npy",
    "pseudo-label/seed0-fold1/stage.json",
    f"student/{EQUAL}/weights.pt",
    f"evaluate/{EQUAL}/metrics.csv",
    f"evaluate/{EQUAL}/training.json",
    f"evaluate/{EQUAL}/stage.json",
]
# Weights are whole, and training them again is asked for.
ASKED_FOR = [
    f"student/{EQUAL}/steps.csv",
    f"student/{EQUAL}/timing.json",
    f"student/{EQUAL}/stage.json",
    "teacher/seed0-fold1/stage.json",
]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    config = small(data=str(nnunet(folder / "data", 6)), shares=(1, 1, 1, 3))
    return run_stages(folder / "run", config, STAGES[:-1])


@pytest.fixture
def run(whole, tmp_path):
    shutil.copytree(whole.path, tmp_path / "run")
    return RunFolder(tmp_path / "run", whole.config)


def cut(path, kept):
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * kept)])


@pytest.mark.parametrize("kept", [0, 0.5])
@pytest.mark.parametrize("name", MADE_ANEW)
def test_what_is_cut_short_is_said_and_made_anew_and_nothing_else(run, whole, caplog, name, kept):
    caplog.set_level("INFO")
    (unlabelled,) = (path.name for path in run.path.glob("pseudo-label/*/case*"))
    path = run.path / name.replace("UNLABELLED", unlabelled)
    before = {stage: files_of(run.path / stage) for stage in ("teacher", "student")}
    cut(path, kept)
    size = path.stat().st_size
    run_stages(run.path, run.config, STAGES[:-1])
    stage = name.split("/")[0]
    assert f"{stage}{'' if stage == 'prepare' else '/seed0-fold1'}" in caplog.text
    reason = "its record cannot be read" if name.endswith("stage.json") else f"has {size} bytes"
    assert f"again, because {reason}" in caplog.text.replace(f"{path} ", "")
    assert path.stat().st_size > size
    again = RunFolder(run.path, run.config)
    for stage, unit in (
        ("prepare", ()),
        ("teacher", ("seed0-fold1",)),
        ("pseudo-label", ("seed0-fold1",)),
        ("student", ("seed0-fold1", "equal")),
        ("evaluate", ("seed0-fold1", "equal")),
    ):
        assert again.is_complete(stage, *unit)
    if not name.endswith("weights.pt"):
        assert {stage: files_of(run.path / stage) for stage in before} == before
    for folder in ("teacher/seed0-fold1", f"student/{EQUAL}"):
        assert same(weights_in(run.path / folder), weights_in(whole.path / folder))
    assert read_csv(run.path / f"evaluate/{EQUAL}/metrics.csv") == read_csv(
        whole.path / f"evaluate/{EQUAL}/metrics.csv"
    )


@pytest.mark.parametrize("name", ASKED_FOR)
def test_weights_that_are_whole_are_not_replaced_for_a_log_that_is_not(run, name):
    cut(run.path / name, 0.5)
    with pytest.raises(UserError, match=r"(bytes, and had|record cannot be read)[\s\S]*--redo"):
        run_stages(run.path, run.config, STAGES[:-1])


@pytest.mark.parametrize(
    ("name", "stage"),
    [
        ("prepare/scans/case00/image.npy", "teacher"),
        ("teacher/seed0-fold1/weights.pt", "student"),
        (f"student/{EQUAL}/weights.pt", "evaluate"),
        (f"evaluate/{EQUAL}/metrics.csv", "report"),
    ],
)
def test_a_single_stage_on_it_says_which_command_makes_it_anew(run, name, stage):
    cut(run.path / name, 0)
    if stage == "teacher":
        shutil.rmtree(run.path / "teacher")
    if stage == "student":
        shutil.rmtree(run.path / "student")
    if stage == "evaluate":
        shutil.rmtree(run.path / "evaluate")
    needed = name.split("/")[0]
    with pytest.raises(UserError, match=rf"has 0 bytes[\s\S]*examples.covid3d {needed} --out"):
        run_stages(run.path, run.config, [stage])


@pytest.mark.parametrize("kept", [0, 0.5])
def test_a_training_whose_checkpoint_is_cut_short_begins_anew(
    run, whole, monkeypatch, caplog, kept
):
    shutil.rmtree(run.path / "student")
    take = training._Run.take

    def stop(self, rate):
        if self.step == 1:
            raise Killed
        return take(self, rate)

    with monkeypatch.context() as patched:
        patched.setattr(training._Run, "take", stop)
        with pytest.raises(Killed):
            run_stages(run.path, run.config, ["student"])
    cut(run.path / f"student/{EQUAL}.partial" / "last.pt", kept)
    run_stages(run.path, run.config, ["student"])
    assert "begins anew" in caplog.text
    assert "last.pt: cannot be read" in caplog.text
    assert same(
        weights_in(run.path / f"student/{EQUAL}"), weights_in(whole.path / f"student/{EQUAL}")
    )


@pytest.mark.parametrize("content", [b"", b"half of", b"PK\x03\x04"])
def test_whoever_opens_a_damaged_file_gets_its_name_and_no_traceback(tmp_path, content):
    for name, read in (("weights.pt", read_torch), ("image.npy", mapped)):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=rf"{name}: cannot be read[\s\S]*To mend it"):
            read(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        mapped(tmp_path / "gone.npy")
    np.save(tmp_path / "good.npy", np.arange(3))
    assert list(mapped(tmp_path / "good.npy")) == [0, 1, 2]


def test_a_manifest_that_is_damaged_is_named(run):
    path = run.path / "prepare" / "manifest.csv"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:2], lines[2][:9]]))
    with pytest.raises(UserError, match=r"manifest.csv: line 3 cannot be read"):
        read_manifest(run.path / "prepare")
