"""Weighing trainers at tiny size, and the losses of a plain loop beside them."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from reweight.integrations.transformers import ReweightTrainer
from tests.integrations.tiny_transformers import arguments, bert, collator, sentences


def trainer_of(folder, model=None, *, noisy=None, trusted=None, reweighter=None, **others):
    settings = others.pop("settings", {})
    return others.pop("kind", ReweightTrainer)(
        bert() if model is None else model,
        arguments(folder, **settings),
        train_dataset=sentences(28) if noisy is None else noisy,
        trusted_dataset=sentences(6, seed=1) if trusted is None else trusted,
        trusted_batch_size=6,
        reweighter=reweighter,
        data_collator=collator(),
        **others,
    )


def class_losses(model, batch):
    inputs = {k: v for k, v in batch.items() if k != "labels"}
    return F.cross_entropy(model(**inputs).logits, batch["labels"], reduction="none")


def batches_of(dataset, size=4):
    collate = collator()
    rows = [dataset[i] for i in range(len(dataset))]
    return [dict(collate(rows[i : i + size])) for i in range(0, len(rows), size)]


def same(found, expected):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-7)


def weights_after(trainer):
    trainer.train()
    return {n: p.detach().clone() for n, p in trainer.model.named_parameters()}


def labelled(count, make, seed=0):
    """Rows of one length each batch of which have as many labels that count."""
    rows = sentences(count, seed=seed).remove_columns("label")
    return rows.map(lambda row: {"labels": make(row["input_ids"])})


class Padded:
    """Pads labels by -100 too."""

    def __call__(self, features):
        labels = [feature["labels"] for feature in features]
        batch = collator()([{k: v for k, v in f.items() if k != "labels"} for f in features])
        width = batch["input_ids"].shape[1]
        batch["labels"] = torch.tensor([row + [-100] * (width - len(row)) for row in labels])
        return batch


def token_losses(shift):
    def losses(model, batch):
        inputs = {k: v for k, v in batch.items() if k != "labels"}
        logits, labels = model(**inputs).logits, batch["labels"]
        if shift:
            logits, labels = logits[:, :-1], labels[:, 1:]
        found = F.cross_entropy(logits.transpose(1, 2), labels, reduction="none")
        return found, labels != -100

    return losses


def tags(ids):
    return [-100 if word % 4 == 0 else word % 3 for word in ids]
