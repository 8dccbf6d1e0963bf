"""Rows of the data set: known to what remembers, unknown to the model, exported with weights."""
# ruff: noqa: E402 - what is missing is skipped before it is imported

from __future__ import annotations

import pytest
import torch

from tests.compatibility.frameworks import need

for _name in ("transformers", "datasets", "accelerate"):
    need(_name)

import datasets

from reweight import (
    GroupWeights,
    MendedLabels,
    SampleWeights,
    Uniform,
)
from tests.integrations.tiny_transformers import (
    sentences,
)
from tests.integrations.weighing_trainer import (
    class_losses,
    trainer_of,
)


def test_row_numbers_reach_what_remembers_and_never_the_model(tmp_path):
    told, batches = [], []

    def forward(model, batch):
        batches.append(batch)
        return class_losses(model, batch)

    def weighting(context):
        told.append(context.ids.tolist())
        return torch.ones_like(context.losses)

    weighting.needs = {"ids": None}
    rows = {"input_ids": [[3 + i] for i in range(20)], "attention_mask": [[1]] * 20}
    noisy = datasets.Dataset.from_dict(
        {**rows, "label": [i % 3 for i in range(20)], "more": [0] * 20}
    )
    trainer = trainer_of(
        tmp_path,
        noisy=noisy,
        reweighter={"weighting": weighting, "scorer": Uniform(), "forward": forward},
        settings={"train_sampling_strategy": "random"},
    )
    trainer.train()
    words = [(batch["input_ids"][:, 0] - 3).tolist() for batch in batches]
    assert [ids for ids in told if ids in words] == told
    every = [row for ids in told for row in ids]
    assert sorted(every) == list(range(20))
    assert every != list(range(20))  # shuffled
    assert {key for batch in batches for key in batch} == {"input_ids", "attention_mask", "labels"}


class Items(torch.utils.data.Dataset):
    """A data set of PyTorch, not of the package datasets."""

    def __init__(self, rows):
        self.rows = [dict(row) for row in rows]

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, row):
        return self.rows[row]


def test_a_data_set_of_pytorch_is_numbered_as_one_of_datasets_is(tmp_path):
    found = []
    for noisy in (sentences(12), Items(sentences(12))):
        trainer = trainer_of(tmp_path, noisy=noisy, reweighter={"weighting": SampleWeights(12)})
        trainer.train()
        exported = trainer.export_weights()
        found.append([exported[row]["weight"] for row in range(12)])
    assert found[0] == pytest.approx(found[1], abs=1e-5)
    assert len(set(found[0])) > 6


def test_groups_go_by_their_names(tmp_path):
    sources = ["nurse" if i % 3 else "crowd" for i in range(28)]
    trainer = trainer_of(
        tmp_path,
        noisy=sentences(28, source=sources),
        group_column="source",
        reweighter={"weighting": GroupWeights(["crowd", "nobody", "nurse"])},
    )
    trainer.train()
    by_name = trainer.reweighter.weighting.by_name()
    assert by_name["nobody"] == 0.5  # as at first
    assert by_name["crowd"] != 0.5
    assert by_name["nurse"] != 0.5

    numbers = trainer_of(
        tmp_path,
        noisy=sentences(28, source=[2 if s == "nurse" else 0 for s in sources]),
        group_column="source",
        reweighter={"weighting": GroupWeights(3)},
    )
    numbers.train()
    assert list(numbers.reweighter.weighting.by_name().values()) == pytest.approx(
        list(by_name.values()), abs=1e-5
    )


def test_what_is_remembered_becomes_a_column(tmp_path):
    noisy = sentences(28)
    trainer = trainer_of(tmp_path, noisy=noisy, reweighter={"weighting": SampleWeights(28)})
    with pytest.raises(RuntimeError, match="call train"):
        trainer.export_weights()
    trainer.train()
    exported = trainer.export_weights()
    assert exported.column_names == [*noisy.column_names, "weight"]
    assert exported["weight"][:] == trainer.reweighter.weighting.weights.tolist()
    assert exported.remove_columns("weight")[:] == noisy[:]
    assert "trust" in trainer.export_weights(column="trust").column_names

    mended = trainer_of(tmp_path, noisy=noisy, reweighter={"labels": MendedLabels(28, 3)})
    mended.train()
    trust = mended.reweighter.labels.trust.tolist()
    assert mended.export_weights()["weight"][:] == trust


def test_weights_that_are_not_remembered_are_exported_as_their_mean(tmp_path):
    def lighter(context):  # rows 0 and 1 of four weigh 1 to 3
        return torch.where(context.ids % 4 < 2, 1.0, 3.0)

    lighter.needs = {"ids": None}
    trainer = trainer_of(
        tmp_path,
        reweighter={"weighting": lighter, "scorer": Uniform()},
        settings={"num_train_epochs": 3, "max_steps": 10},  # the first three batches twice
    )
    trainer.train()
    assert trainer.export_weights()["weight"][:] == pytest.approx([0.5, 0.5, 1.5, 1.5] * 7)

    stopped = trainer_of(tmp_path, settings={"max_steps": 2}, reweighter={"scorer": Uniform()})
    stopped.train()
    assert stopped.export_weights()["weight"][:] == [1.0] * 8 + [None] * 20
