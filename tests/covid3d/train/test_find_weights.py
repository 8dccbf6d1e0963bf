"""Which networks `predict` takes: those of the present settings, in every seed and fold."""

import dataclasses
import shutil

import pytest

from examples.covid3d.commands.predict import find_weights
from examples.covid3d.common.errors import UserError
from examples.covid3d.run.pipeline import run_stages
from examples.covid3d.run.run_folder import RunFolder
from tests.covid3d.running import nnunet, small


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    shares = (2, 1, 1, 2)
    config = small(data=str(nnunet(folder / "data", 8)), folds=2, seeds=(0, 1), shares=shares)
    stages = ["prepare", "teacher", "pseudo-label", "student"]
    return run_stages(folder / "run", config, stages)


def test_of_every_seed_and_fold(trained):
    names = [f"seed{s}-fold{f}" for s in (0, 1) for f in (1, 2)]
    students = [trained.path / "student" / name / "equal" / "weights.pt" for name in names]
    assert find_weights(trained, "equal") == students
    teachers = [trained.path / "teacher" / name / "weights.pt" for name in names]
    assert find_weights(trained, "supervised") == teachers


def test_of_seeds_and_folds_that_are_asked_for_now(trained):
    fewer = RunFolder(trained.path, dataclasses.replace(trained.config, seeds=(1,)))
    for method in ("equal", "supervised"):
        found = find_weights(fewer, method)
        assert len(found) == 2
        assert all("seed1-" in str(path) for path in found)


def test_of_a_teacher_that_folds_share(finished):
    run = RunFolder(*finished)
    assert find_weights(run, "supervised") == [run.path / "teacher" / "seed0" / "weights.pt"]


def test_of_other_settings_are_passed_over_and_said(trained, caplog):
    run = RunFolder(trained.path, dataclasses.replace(trained.config, student_steps=3))
    assert len(find_weights(run, "supervised")) == 4
    with pytest.raises(UserError, match="no trained network of the row 'equal'"):
        find_weights(run, "equal")
    assert sum("trained with other settings" in text for text in caplog.messages) == 4


def test_wherever_the_data_is_now(trained, tmp_path):
    """A run folder may be all that is left of an experiment."""
    shutil.copytree(trained.path, tmp_path / "moved")
    here, away = trained.path.parent / "data", tmp_path / "data"
    here.rename(away)
    try:
        run = RunFolder(tmp_path / "moved", trained.config)
        assert len(find_weights(run, "equal")) == 4
    finally:
        away.rename(here)


@pytest.mark.parametrize("method", ["rgs", "nnunet"])
def test_of_a_row_that_was_not_trained_is_an_error(finished, method):
    with pytest.raises(UserError, match=rf"no trained network of the row '{method}'[^$]*equal"):
        find_weights(RunFolder(*finished), method)


def test_of_the_teacher_of_another_run(finished, tmp_path):
    out, config = finished
    for seeds in ((0,), (0, 5)):
        changed = dataclasses.replace(config, teacher_from=str(out), seeds=seeds)
        found = find_weights(RunFolder(tmp_path, changed), "supervised")
        assert found == [out / "teacher" / "seed0" / "weights.pt"]


def test_of_the_teachers_that_label_here_of_all_that_the_other_run_has(trained, tmp_path):
    changed = dataclasses.replace(trained.config, teacher_from=str(trained.path), seeds=(1,))
    found = find_weights(RunFolder(tmp_path, changed), "supervised")
    assert found == [trained.path / "teacher" / "seed1-fold1" / "weights.pt"]
