"""The Hugging Face Trainer with weighted samples, against the plain loop."""

from __future__ import annotations

import pytest
import torch

from tests.compatibility.frameworks import need

for _name in ("transformers", "datasets", "accelerate"):
    need(_name)

import datasets
from torch.nn import functional as F
from transformers import Trainer

from reweight import (
    GradientSimilarity,
    GroupWeights,
    MendedLabels,
    MetaReweighter,
    SampleWeights,
    TrainingDynamics,
    Uniform,
)
from reweight.integrations.transformers import ReweightMixin, ReweightTrainer
from tests.integrations.small_models import (
    Gradients,
    arguments,
    bert,
    collator,
    gradients_of,
    llama,
    sentences,
    tagger,
)


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


@pytest.mark.parametrize("accumulated", [1, 3])
def test_gradients_are_those_of_a_loop_that_divides_by_the_batches_it_accumulates(
    tmp_path, accumulated
):
    gradients = Gradients()
    trainer = trainer_of(
        tmp_path,
        reweighter={"weighting": SampleWeights(28), "trusted_coefficient": 0.1},
        callbacks=[gradients],
        settings={"gradient_accumulation_steps": accumulated},
    )
    trainer.train()

    model, expected = bert().train(), []
    reweighter = MetaReweighter(
        model, forward=class_losses, weighting=SampleWeights(28), trusted_coefficient=0.1
    )
    (trusted,) = batches_of(sentences(6, seed=1), 6)
    noisy = batches_of(sentences(28))  # 7 of them: the last accumulation has one alone
    for start in range(0, 7, accumulated):
        together = noisy[start : start + accumulated]
        for number, batch in enumerate(together, start):
            ids = torch.arange(4) + 4 * number
            (reweighter(batch, trusted, ids=ids).loss / len(together)).backward()
        expected.append(gradients_of(model))
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if name in expected[-1]:
                    parameter -= 0.1 * expected[-1][name]

    assert len(gradients.steps) == len(expected) == -(-7 // accumulated)
    for found, wanted in zip(gradients.steps, expected, strict=True):
        same(found, wanted)
    torch.testing.assert_close(
        trainer.reweighter.weighting.weights, reweighter.weighting.weights, rtol=1e-4, atol=1e-5
    )
