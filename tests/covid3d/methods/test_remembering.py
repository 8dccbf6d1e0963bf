"""Rows that remember: by scan, by source, and what becomes of the masks."""

import dataclasses

import pytest
import torch

from examples.covid3d.common.files import read_csv
from examples.covid3d.methods.rows import ROWS
from examples.covid3d.methods.rows.remembering import Remembering, minus_loss
from examples.covid3d.run.stages import train_student
from examples.covid3d.train.patches import PatchBatch
from reweight import GradientSimilarity, GroupWeights, SampleWeights

REMEMBERING = ("rgs-scan", "rgs-scan-loss", "rgs-source", "soft-voxel", "best-remembering")


@pytest.fixture
def recipe(taught, tmp_path):
    """Makes the recipe of a row, with sources if they are given."""

    def of(row, sources=None):
        (replicate,) = taught.replicates()
        lesson = taught.lesson(replicate, tmp_path)
        lesson = dataclasses.replace(lesson, sources=sources or lesson.sources)
        return ROWS[row].recipe(lesson, lesson.initial_network())

    return of


def batch_of(*names):
    images = torch.randn(len(names), 1, 16, 16, 8)
    masks = (images[:, 0] > 1).long()
    return PatchBatch(images, masks, names, ((0, 0, 0),) * len(names))


@pytest.mark.parametrize("row", REMEMBERING)
def test_what_a_training_remembers_of_each_scan_is_written_when_it_ends(taught, tmp_path, row):
    (replicate,) = taught.replicates()
    train_student(taught, replicate, row, tmp_path)
    memory = read_csv(tmp_path / "memory.csv")
    assert [line["scan"] for line in memory] == list(replicate.roles["unlabelled"])
    drawn = taught.config.student_steps * taught.config.batch_size
    assert sum(int(line["seen"]) for line in memory) <= drawn
    assert any(float(line["memory"]) != 0 for line in memory)
    sources = taught.lesson(replicate, tmp_path).sources
    assert [line["source"] for line in memory] == [sources[line["scan"]] for line in memory]


def test_patches_of_one_scan_share_their_memory(recipe):
    made = recipe("rgs-scan")
    first, second, *_ = made._ids
    step = made._weigh(batch_of(first, first, second), made._trusted.draw(0))
    (scores,) = step.scores.values()
    z = scores / scores.pow(2).mean().sqrt()
    remembered = made._memory.remembered
    assert remembered[0] == pytest.approx(float(z.clamp(-3, 3)[:2].mean()), abs=1e-4)
    assert step.weights[0] == step.weights[1] != step.weights[2]


def test_sources_have_one_memory_each_whatever_their_scans_are_called(recipe):
    made = recipe("rgs-source")
    names = list(made._ids)
    made = recipe("rgs-source", {name: "AB"[number % 2] for number, name in enumerate(names)})
    assert isinstance(made._memory, GroupWeights)
    assert set(made._memory.by_name()) == {"A", "B"}
    step = made._weigh(batch_of(*names[:3]), made._trusted.draw(0))
    assert step.weights[0] == step.weights[2] != step.weights[1]


def test_scans_without_a_source_are_of_one(recipe):
    made = recipe("rgs-source", {"somebody else's": "C"})
    assert len(made._memory.by_name()) == 1


def test_the_control_is_fed_with_the_loss_and_nothing_else_differs(recipe):
    ours, control = recipe("rgs-scan"), recipe("rgs-scan-loss")
    assert type(ours) is type(control) is Remembering
    assert type(ours._memory) is type(control._memory) is SampleWeights
    (scorer,) = (part for part in ours._reweighter.scorer.scorers)
    assert isinstance(scorer, GradientSimilarity)
    names = list(control._ids)[:2]
    step = control._weigh(batch_of(*names), control._trusted.draw(0))
    ahead = step.losses.argmin()
    assert control._memory.remembered[:2].argmax() == ahead


def test_the_loss_as_a_score_is_positive_where_it_is_below_the_mean():
    context = type("Context", (), {"losses": torch.tensor([1.0, 2.0, 6.0])})
    assert minus_loss(context).tolist() == [2.0, 1.0, -3.0]


def test_a_mask_is_mended_as_far_as_its_scan_is_disbelieved(recipe, monkeypatch):
    made = recipe("soft-voxel")
    names = list(made._ids)[:2]
    batch, seen = batch_of(*names), []
    made.after_step(0)
    drawn = made._teacher(batch.images).float().softmax(1)[:, 1]
    made._memory._table.add_mean(torch.tensor([0, 1]), torch.tensor([50.0, -50.0]))
    whole = type(made._reweighter).__call__
    monkeypatch.setattr(
        type(made._reweighter), "__call__", lambda *a, **k: (seen.append(a[1]), whole(*a, **k))[1]
    )
    step = made._weigh(batch, made._trusted.draw(0))
    _, targets = seen[0]
    torch.testing.assert_close(targets[0], batch.masks[0].float())
    torch.testing.assert_close(targets[1], drawn[1])
    assert step.weights.tolist() == pytest.approx([0.5, 0.5])


def test_rows_that_remember_and_mend_also_weigh(recipe):
    made = recipe("best-remembering")
    names = list(made._ids)[:2]
    made._memory._table.add_mean(torch.tensor([0, 1]), torch.tensor([5.0, -50.0]))
    step = made._weigh(batch_of(*names), made._trusted.draw(0))
    assert step.weights[1] < 1e-6
