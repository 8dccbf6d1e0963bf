"""Every mask is judged by a student that learnt from neither it nor its scan."""

import dataclasses

import pytest
import torch

from examples.covid3d.audit.students import drawn_by_others, halves_of, train_row
from examples.covid3d.common.files import read_csv
from examples.covid3d.train import training
from examples.covid3d.train.inference import load_network
from examples.covid3d.train.training import WEIGHTS
from tests.covid3d.running import same, weights_in


@pytest.fixture
def lesson(taught, tmp_path):
    (replicate,) = taught.replicates()
    lesson = taught.lesson(replicate, tmp_path)
    config = dataclasses.replace(lesson.config, student_steps=3, checkpoint_every=1)
    return dataclasses.replace(lesson, config=config)


def test_each_scan_is_in_one_half(lesson):
    first, second = halves_of(lesson)
    for role in ("trusted", "unlabelled"):
        one, other = first.replicate.roles[role], second.replicate.roles[role]
        assert sorted(one + other) == sorted(lesson.replicate.roles[role])
        assert abs(len(one) - len(other)) <= 1
        assert one
        assert other
    assert first.folder != second.folder


def test_a_scan_is_drawn_by_the_student_of_the_other_half(lesson):
    drawn = drawn_by_others(lesson)
    roles = lesson.replicate.roles
    assert set(drawn) == {*roles["trusted"], *roles["unlabelled"]}
    for number, half in enumerate(halves_of(lesson)):
        other = load_network(halves_of(lesson)[1 - number].folder / WEIGHTS, lesson.device)
        for scan in half.trusted_scans() + half.unlabelled_scans():
            torch.testing.assert_close(drawn[scan.name], lesson.probability(other, scan))
    memory = [line["scan"] for line in read_csv(lesson.folder / "memory.csv")]
    assert sorted(memory) == sorted(roles["unlabelled"])


def test_what_is_kept_is_the_average_of_the_weights_and_it_resumes_to_the_bit(
    lesson, tmp_path, monkeypatch
):
    whole = dataclasses.replace(lesson, folder=tmp_path / "whole")
    train_row(whole, "rgs-scan", "whole")
    kept = weights_in(whole.folder)
    last = torch.load(whole.folder / "last.pt", weights_only=True)
    assert not same(kept, last["model"])
    assert same(kept, last["evaluated"])

    killed = dataclasses.replace(lesson, folder=tmp_path / "killed")
    take = training._Run.take

    def stop(run, rate):
        if run.step == 2:
            raise KeyboardInterrupt
        return take(run, rate)

    with monkeypatch.context() as patched:
        patched.setattr(training._Run, "take", stop)
        with pytest.raises(KeyboardInterrupt):
            train_row(killed, "rgs-scan", "killed")
    train_row(killed, "rgs-scan", "again")
    assert same(weights_in(killed.folder), kept)
