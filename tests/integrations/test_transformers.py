"""The Hugging Face Trainer with weighted samples, against the plain loop."""
# ruff: noqa: E402 - what is missing is skipped before it is imported

from __future__ import annotations

import pytest
import torch

from tests.compatibility.frameworks import need

for _name in ("transformers", "datasets", "accelerate"):
    need(_name)

from torch.nn import functional as F
from transformers import Trainer

from reweight import (
    MetaReweighter,
    SampleWeights,
    Uniform,
)
from tests.integrations.tiny_transformers import (
    Gradients,
    arguments,
    bert,
    collator,
    gradients_of,
    sentences,
)
from tests.integrations.weighing_trainer import (
    batches_of,
    class_losses,
    same,
    trainer_of,
    weights_after,
)


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


@pytest.mark.parametrize("setting", ["bf16", "gradient_checkpointing"])
def test_scores_are_those_of_full_precision_and_of_a_pass_without_checkpoints(tmp_path, setting):
    found = []
    for settings in ({}, {setting: True}):
        trainer = trainer_of(
            tmp_path,
            reweighter={"trusted_coefficient": 0.1},
            settings={"max_steps": 1, "learning_rate": 0.0, **settings},
        )
        trainer.train()
        found.append(trainer.last_step)
    plain, other = found
    for name, scores in plain.scores.items():
        torch.testing.assert_close(other.scores[name], scores, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(other.weights, plain.weights, rtol=1e-4, atol=1e-6)
    close = {"rtol": 0.02, "atol": 0.02} if setting == "bf16" else {"rtol": 1e-6, "atol": 1e-7}
    torch.testing.assert_close(other.loss, plain.loss, **close)
    assert torch.equal(other.losses, plain.losses) != (setting == "bf16")
