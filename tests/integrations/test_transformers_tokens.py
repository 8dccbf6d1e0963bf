"""Tokens that are weighed, one by one or as the mean of a row."""
# ruff: noqa: E402 - what is missing is skipped before it is imported

from __future__ import annotations

import pytest
import torch

from tests.compatibility.frameworks import need

for _name in ("transformers", "datasets", "accelerate"):
    need(_name)

from reweight import (
    MetaReweighter,
    Uniform,
)
from reweight.integrations.transformers import ReweightTrainer
from tests.integrations.tiny_transformers import (
    Gradients,
    arguments,
    bert,
    collator,
    gpt,
    gradients_of,
    llama,
    t5,
    tagger,
)
from tests.integrations.weighing_trainer import (
    Padded,
    labelled,
    same,
    tags,
    token_losses,
)


@pytest.mark.parametrize("granularity", ["sample", "element"])
@pytest.mark.parametrize(
    ("model", "labels", "shift"),
    [(tagger, tags, False), (llama, list, True)],
    ids=["a label a token", "the next token"],
)
def test_tokens_are_weighed_as_in_the_plain_loop(tmp_path, model, labels, shift, granularity):
    noisy, trusted = labelled(8, labels), labelled(6, labels, seed=1)
    gradients = Gradients()
    trainer = ReweightTrainer(
        model(),
        arguments(tmp_path, learning_rate=0.0),
        Padded(),
        train_dataset=noisy,
        trusted_dataset=trusted,
        trusted_batch_size=6,
        reweighter={"granularity": granularity},
        callbacks=[gradients],
    )
    trainer.train()

    plain = model().train()
    reweighter = MetaReweighter(plain, forward=token_losses(shift), granularity=granularity)
    judge = Padded()(list(trusted))
    for number, found in enumerate(gradients.steps):
        rows = [noisy[i] for i in range(4 * number, 4 * number + 4)]
        step = reweighter(dict(Padded()(rows)), dict(judge))
        step.loss.backward()
        same(found, gradients_of(plain))
    torch.testing.assert_close(trainer.last_step.weights, step.weights, rtol=1e-4, atol=1e-6)
    assert (trainer.last_step.weights.dim() == 2) == (granularity == "element")


def numbers(_):
    return 0.5


def several(_):
    return [1.0, 0.0, 1.0]


KINDS = {
    "a label a token": (tagger, tags),
    "the next token": (llama, list),
    "the next token, of GPT-2": (gpt, list),
    "an answer": (t5, list),
    "a number": (lambda: bert(num_labels=1), numbers),
    "several labels": (lambda: bert(problem_type="multi_label_classification"), several),
}


@pytest.mark.parametrize(("model", "labels"), KINDS.values(), ids=KINDS)
def test_equal_weights_train_on_the_mean_that_the_model_itself_returns(tmp_path, model, labels):
    noisy = labelled(12, labels)
    collate = Padded() if labels in (tags, list) else collator()
    trainer = ReweightTrainer(
        model(),
        arguments(tmp_path),
        collate,
        train_dataset=noisy,
        reweighter={"scorer": Uniform(), "granularity": "element"},
    )
    trainer.train()
    plain = model().train()
    for start in range(0, 12, 4):
        plain(**collate([noisy[i] for i in range(start, start + 4)])).loss.backward()
        gradients = gradients_of(plain)
        with torch.no_grad():
            for name, parameter in plain.named_parameters():
                if name in gradients:
                    parameter -= 0.1 * gradients[name]
    for name, value in plain.named_parameters():
        found = trainer.model.get_parameter(name)
        torch.testing.assert_close(found, value, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("side", ["left", "right"])
def test_weights_of_tokens_are_exported_as_lists_in_the_order_of_the_row(tmp_path, side):
    noisy = labelled(8, list)

    def padded(features):
        batch = Padded()([dict(feature) for feature in features])
        if side == "left":
            for row, feature in enumerate(features):
                shift = batch["input_ids"].shape[1] - len(feature["input_ids"])
                for name in batch:
                    batch[name][row] = batch[name][row].roll(shift)
                batch["labels"][row, shift] = -100  # or padding would have to predict it
        return batch

    held = {}

    def by_word(context):  # noqa: ARG001 - in the order of the losses that count
        return held["words"]

    def forward(model, batch):
        held["words"] = batch["labels"][:, 1:][batch["labels"][:, 1:] != -100].float()
        return token_losses(True)(model, batch)

    trainer = ReweightTrainer(
        llama(),
        arguments(tmp_path, per_device_train_batch_size=8),
        padded,
        train_dataset=noisy,
        reweighter={
            "granularity": "element",
            "weighting": by_word,
            "scorer": Uniform(),
            "forward": forward,
        },
    )
    trainer.train()
    exported = trainer.export_weights()["weight"][:]
    rows = noisy["input_ids"][:]
    mean = torch.tensor([float(word) for row in rows for word in row[1:]]).mean().item()
    for weights, row in zip(exported, rows, strict=True):
        assert weights == pytest.approx([0.0] + [word / mean for word in row[1:]], rel=1e-4)
