"""The Hugging Face Trainer with weighted samples, against the plain loop."""
# ruff: noqa: E402 - what is missing is skipped before it is imported

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
from reweight.integrations.transformers import ReweightTrainer
from tests.integrations.tiny_transformers import (
    Gradients,
    arguments,
    bert,
    collator,
    gpt,
    gradients_of,
    llama,
    sentences,
    t5,
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


def weights_after(trainer):
    trainer.train()
    return {n: p.detach().clone() for n, p in trainer.model.named_parameters()}


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"gradient_accumulation_steps": 2, "label_smoothing_factor": 0.2},
        {"bf16": True},
        {"gradient_checkpointing": True},
        {"train_sampling_strategy": "random", "max_grad_norm": 1.0, "optim": "adamw_torch"},
    ],
    ids=lambda settings: "-".join(settings) or "plain",
)
def test_equal_weights_train_as_the_trainer_does_without_them(tmp_path, settings):
    settings = {**settings, "learning_rate": 0.01}
    plain = Trainer(
        bert(), arguments(tmp_path, **settings), collator(), train_dataset=sentences(28)
    )
    weighted = trainer_of(tmp_path, reweighter={"scorer": Uniform()}, settings=settings)
    expected = weights_after(plain)
    for name, value in weights_after(weighted).items():
        torch.testing.assert_close(value, expected[name], rtol=1e-4, atol=1e-5)


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


def test_evaluation_is_the_trainers_own(tmp_path):
    def accuracy(found):
        return {"accuracy": float((found.predictions.argmax(-1) == found.label_ids).mean())}

    held_out = sentences(10, seed=2)
    trainer = trainer_of(
        tmp_path,
        reweighter={"weighting": SampleWeights(28)},
        eval_dataset=held_out,
        compute_metrics=accuracy,
        settings={"eval_strategy": "steps", "eval_steps": 3},
    )
    before = trainer.evaluate()
    assert trainer.reweighter is None
    trainer.train()
    remembered = trainer.reweighter.weighting.remembered.clone()
    after, predicted = trainer.evaluate(), trainer.predict(held_out)
    assert torch.equal(trainer.reweighter.weighting.remembered, remembered)
    assert sum("eval_loss" in entry for entry in trainer.state.log_history) == 4

    for model, metrics in ((bert(), before), (trainer.model, after)):
        plain = Trainer(
            model,
            arguments(tmp_path),
            collator(),
            eval_dataset=held_out,
            compute_metrics=accuracy,
        ).evaluate()
        assert metrics["eval_loss"] == pytest.approx(plain["eval_loss"], rel=1e-6)
        assert metrics["eval_accuracy"] == plain["eval_accuracy"]
    assert predicted.metrics["test_loss"] == pytest.approx(after["eval_loss"], rel=1e-6)


def test_a_loss_function_of_ones_own_is_weighed_and_evaluated_by_its_mean(tmp_path):
    def smooth_l1(outputs, labels, num_items_in_batch=None):  # noqa: ARG001
        wanted = F.one_hot(labels, 3).float()
        return F.smooth_l1_loss(outputs.logits, wanted, reduction="none").mean(-1)

    gradients = Gradients()
    trainer = trainer_of(
        tmp_path,
        compute_loss_func=smooth_l1,
        callbacks=[gradients],
        eval_dataset=sentences(8, seed=2),
        settings={"gradient_accumulation_steps": 7},
    )
    trainer.train()
    assert trainer.evaluate()["eval_loss"] > 0

    def forward(model, batch):
        inputs = {k: v for k, v in batch.items() if k != "labels"}
        return smooth_l1(model(**inputs), batch["labels"])

    model = bert().train()
    reweighter = MetaReweighter(model, forward=forward)
    (trusted,) = batches_of(sentences(6, seed=1), 6)
    for batch in batches_of(sentences(28)):
        (reweighter(batch, trusted).loss / 7).backward()
    same(gradients.steps[0], gradients_of(model))


def test_a_run_that_is_resumed_equals_one_that_was_never_stopped(tmp_path):
    def make(epochs=2):
        return trainer_of(
            tmp_path,
            bert(dropout=0.1),
            trusted=sentences(7, seed=1),
            reweighter={
                "weighting": SampleWeights(28),
                "scorer": GradientSimilarity("forward"),
                "trusted_coefficient": 0.1,
                "dynamics": TrainingDynamics(28),
            },
            settings={
                "save_strategy": "steps",
                "save_steps": 3,
                "num_train_epochs": epochs,
                "gradient_accumulation_steps": 2,
                "per_device_train_batch_size": 3,
                "train_sampling_strategy": "random",
                "optim": "adamw_torch",
                "learning_rate": 0.01,
            },
        )

    whole, resumed = make(), make()
    expected = weights_after(whole)  # 5 steps an epoch: the third is in the midst of one
    assert not list(tmp_path.glob("checkpoint-3/*.tmp"))
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-3"))
    for name, value in resumed.model.named_parameters():
        assert torch.equal(value, expected[name]), name
    parts = [trainer.reweighter for trainer in (whole, resumed)]
    assert torch.equal(*(part.weighting.remembered for part in parts))
    assert torch.equal(whole.last_step.weights, resumed.last_step.weights)
    found = [part.dynamics.state_dict() for part in parts]
    assert all(torch.equal(found[0][k], v) for k, v in found[1].items() if torch.is_tensor(v))
    assert any(torch.is_tensor(value) for value in found[0].values())


def test_a_checkpoint_without_a_reweighter_is_not_resumed(tmp_path):
    settings = {"save_strategy": "steps", "save_steps": 2}
    plain = Trainer(
        bert(), arguments(tmp_path, **settings), collator(), train_dataset=sentences(28)
    )
    plain.train()
    trainer = trainer_of(tmp_path, settings=settings)
    with pytest.raises(ValueError, match=r"holds no reweighter\.pt.*from_pretrained"):
        trainer.train(resume_from_checkpoint=True)


def test_adapters_learn_as_in_the_plain_loop(tmp_path):
    need("peft")
    from peft import LoraConfig, get_peft_model

    def adapted():
        torch.manual_seed(1)
        return get_peft_model(
            bert(), LoraConfig(task_type="SEQ_CLS", r=2, target_modules=["query", "value"])
        )

    gradients = Gradients()
    trainer = trainer_of(
        tmp_path,
        adapted(),
        reweighter={"trusted_coefficient": 0.1},
        callbacks=[gradients],
        settings={"gradient_accumulation_steps": 7},
    )
    trainer.train()
    model = adapted().train()
    reweighter = MetaReweighter(model, forward=class_losses, trusted_coefficient=0.1)
    (trusted,) = batches_of(sentences(6, seed=1), 6)
    for batch in batches_of(sentences(28)):
        (reweighter(batch, trusted).loss / 7).backward()
    assert all("lora" in name or "classifier" in name for name in gradients.steps[0])
    same(gradients.steps[0], gradients_of(model))


def test_the_summary_of_a_step_is_logged_with_the_loss(tmp_path):
    trainer = trainer_of(tmp_path, settings={"logging_strategy": "steps", "logging_steps": 7})
    trainer.train()
    (logged,) = [entry for entry in trainer.state.log_history if "loss" in entry]
    for name, value in trainer.last_step.summary().items():
        assert logged[name] == value
    assert "reweight/effective_sample_size" in logged
    assert "reweight/kept" not in trainer.state.log_history[-1]  # of the end of the training


@pytest.mark.parametrize("kept", [False, True])
def test_where_no_sample_is_kept_momentum_and_decay_move_nothing(tmp_path, kept):
    trainer = trainer_of(
        tmp_path,
        reweighter={"selector": lambda weights: weights * kept, "scorer": Uniform()},
        settings={"optim": "adamw_torch", "weight_decay": 0.1},
    )
    before = {n: p.clone() for n, p in trainer.model.named_parameters()}
    after = weights_after(trainer)
    assert all(torch.equal(after[name], before[name]) for name in before) != kept


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
