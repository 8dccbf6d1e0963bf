"""A training killed at any moment and started again ends as if it had not been."""

import numpy as np
import pytest
import torch

from examples.covid3d.common.files import read_csv
from examples.covid3d.methods import rows
from examples.covid3d.run import stages
from examples.covid3d.run.stages import label_unlabelled, train_student, train_teacher
from examples.covid3d.train import training
from examples.covid3d.train.training import LAST
from reweight import GradientSimilarity
from tests.covid3d.running import LOGS, TRAINED, Killed, same, weights_in

# With checkpoints at 3, 6 and 9 and validation at 4 and 8: before the first checkpoint, between a
# checkpoint and the step after it, just after the groups of `semi-supervised` (3, 6) and the rounds
# of `self-training` (4) have changed.
STEPS = (0, 2, 3, 4, 5, 7)


@pytest.fixture(scope="module")
def uninterrupted(taught, tmp_path_factory):
    """Folder of each row's training, and the paths of the arrays that it opened."""
    (replicate,) = taught.replicates()
    made = {}

    def give(method):
        if method in made:
            return made[method]
        folder = tmp_path_factory.mktemp(method)
        opened = []
        load = np.load

        def noted(path, *args, **kwargs):
            opened.append(path)
            return load(path, *args, **kwargs)

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(np, "load", noted)
            train_student(taught, replicate, method, folder)
        made[method] = folder, opened
        return made[method]

    return give


def kill(monkeypatch, taught, method, folder, patch):
    """Trains until what ``patch`` puts in raises Killed."""
    (replicate,) = taught.replicates()
    with monkeypatch.context() as patched:
        patch(patched)
        with pytest.raises(Killed):
            train_student(taught, replicate, method, folder)
    assert not (folder / "weights.pt").exists()


def before_step(at):
    def patch(patched):
        take = training._Run.take

        def stop(self, rate):
            if self.step == at:
                raise Killed
            return take(self, rate)

        patched.setattr(training._Run, "take", stop)

    return patch


def in_validation(at):
    def patch(patched):
        validate = training._Run.validate

        def stop(self, validator):
            def stopped(model):
                validator(model)
                raise Killed

            return validate(self, stopped if self.step == at else validator)

        patched.setattr(training._Run, "validate", stop)

    return patch


def writing_checkpoint(at):
    """Killed when half of ``last.pt`` is written."""

    def patch(patched):
        write = training.write_torch

        def stop(path, content):
            if path.name == LAST and content["step"] == at:
                path.with_name(f".partial-0-{LAST}").write_bytes(b"half")
                raise Killed
            write(path, content)

        patched.setattr(training, "write_torch", stop)

    return patch


@pytest.mark.parametrize("method", TRAINED)
def test_killed_again_and_again_ends_with_the_same_bits(
    taught, uninterrupted, tmp_path, monkeypatch, method
):
    expected, _ = uninterrupted(method)
    for step in STEPS:
        kill(monkeypatch, taught, method, tmp_path, before_step(step))
        assert (tmp_path / LAST).exists() == (step >= 3)
        if step == 3:
            kill(monkeypatch, taught, method, tmp_path, in_validation(4))
        if step == 5:
            kill(monkeypatch, taught, method, tmp_path, writing_checkpoint(6))
    (replicate,) = taught.replicates()
    train_student(taught, replicate, method, tmp_path)
    assert same(weights_in(tmp_path), weights_in(expected))
    for name in LOGS:
        assert (tmp_path / name).read_bytes() == (expected / name).read_bytes()
    assert read_csv(tmp_path / "steps.csv")


@pytest.mark.parametrize("method", ["rgs", "rgsm-al", "rgs-voxel"])
def test_the_ways_that_auto_takes_in_turn_go_on_where_they_were(
    taught, tmp_path, monkeypatch, method
):
    """Eight steps, after which the clock has not chosen yet."""
    monkeypatch.setattr(rows, "_similarity", GradientSimilarity)
    (replicate,) = taught.replicates()
    train_student(taught, replicate, method, tmp_path / "whole")
    for step in STEPS:
        kill(monkeypatch, taught, method, tmp_path / "killed", before_step(step))
    train_student(taught, replicate, method, tmp_path / "killed")
    assert same(weights_in(tmp_path / "killed"), weights_in(tmp_path / "whole"))


def test_killed_once_and_never_started_again_differs(taught, uninterrupted, tmp_path, monkeypatch):
    """The comparison above can fail: one step less gives other weights."""
    expected, _ = uninterrupted("equal")
    kill(monkeypatch, taught, "equal", tmp_path, before_step(7))
    state = torch.load(tmp_path / LAST, weights_only=True)
    assert state["step"] == 6
    assert not same(state["model"], weights_in(expected))


@pytest.mark.parametrize("method", TRAINED)
def test_no_training_opens_masks_of_unlabelled_or_test_scans(taught, uninterrupted, method):
    _, opened = uninterrupted(method)
    (replicate,) = taught.replicates()
    scans = taught.prepared / "scans"
    seen = {path.parent.name for path in opened if path.parent.parent == scans}
    masks = {
        path.parent.name
        for path in opened
        if path.parent.parent == scans and path.name in ("mask.npy", "foreground.npy")
    }
    roles = replicate.roles
    # The bound is told how good the labels are, of no scan that tests.
    told = roles["unlabelled"] if rows.ROWS[method].told else ()
    assert masks
    assert masks <= {*roles["teacher"], *roles["trusted"], *told}
    assert not seen & set(roles["test"])
    # There is something that could have been opened.
    assert all((scans / name / "mask.npy").exists() for name in roles["unlabelled"])


def test_neither_do_the_teacher_and_the_pseudo_labels(taught, tmp_path, monkeypatch):
    (replicate,) = taught.replicates()
    opened = []
    load = np.load
    monkeypatch.setattr(
        np, "load", lambda path, **rest: [opened.append(path), load(path, **rest)][1]
    )
    train_teacher(taught, replicate, tmp_path / "teacher")
    monkeypatch.setattr(
        stages.Context, "teacher_folder", lambda *_: tmp_path / "teacher", raising=True
    )
    label_unlabelled(taught, [replicate], tmp_path / "labels")
    masks = {path.parent.name for path in opened if path.name in ("mask.npy", "foreground.npy")}
    assert masks <= {*replicate.roles["teacher"], *replicate.roles["trusted"]}
    assert set(replicate.roles["unlabelled"]) <= {path.parent.name for path in opened}


def test_rows_with_pseudo_labels_see_the_same_batches(uninterrupted):
    drawn = [
        [
            [row[key] for key in ("step", "scan", "x", "y", "z")]
            for row in read_csv(uninterrupted(method)[0] / "samples.csv")
        ]
        for method in ("random", "rgs", "rgsm-al")
    ]
    assert drawn[0] == drawn[1] == drawn[2]
    assert drawn[0]
