"""What a user of the weighing Trainer can do wrong, and what is then said."""
# ruff: noqa: E402 - what is missing is skipped before it is imported

from __future__ import annotations

import pytest
import torch

from tests.compatibility.frameworks import need

for _name in ("transformers", "datasets", "accelerate"):
    need(_name)

from transformers import BertForSequenceClassification, Trainer

from reweight import (
    GroupWeights,
    LossMagnitude,
    MetaReweighter,
    SampleWeights,
    TrainingDynamics,
    Uniform,
)
from reweight.integrations.transformers import ReweightMixin, ReweightTrainer
from tests.integrations.tiny_transformers import arguments, bert, collator, sentences


def trainer_of(folder, model=None, kind=ReweightTrainer, **others):
    settings = others.pop("settings", {})
    others = {"train_dataset": sentences(8), "trusted_dataset": sentences(4, seed=1), **others}
    return kind(
        bert() if model is None else model,
        arguments(folder, **settings),
        data_collator=collator(),
        **others,
    )


@pytest.mark.parametrize(
    ("reweighter", "error", "says"),
    [
        (7, TypeError, "must be a dict of MetaReweighter's settings, or a function"),
        (MetaReweighter, TypeError, "must be a dict of MetaReweighter's settings"),
        ({"loss": torch.nn.CrossEntropyLoss(reduction="none")}, ValueError, "compute_loss_func="),
        ({"model": None}, ValueError, "the one it trains"),
    ],
)
def test_a_reweighter_that_is_no_description_of_one(tmp_path, reweighter, error, says):
    with pytest.raises(error, match=says):
        trainer_of(tmp_path, reweighter=reweighter)


def test_a_reweighter_that_is_built_before_the_model_is_prepared(tmp_path):
    model = bert()
    built = MetaReweighter(model, torch.nn.CrossEntropyLoss(reduction="none"))
    with pytest.raises(TypeError, match="after the Trainer has prepared the model"):
        trainer_of(tmp_path, model, reweighter=built)
    with pytest.raises(ValueError, match="on the model it is called with"):
        trainer_of(
            tmp_path,
            reweighter=lambda _: MetaReweighter(model, forward=lambda m, b: m(**b).logits[:, 0]),
        ).train()
    with pytest.raises(TypeError, match="must return a MetaReweighter"):
        trainer_of(tmp_path, reweighter=lambda _: None).train()


def test_a_function_builds_it_on_the_losses_of_the_trainer(tmp_path):
    def make(model):
        return MetaReweighter(
            model, forward=trainer.sample_losses, weighting=SampleWeights(8), scorer=None
        )

    trainer = trainer_of(tmp_path, reweighter=make)
    assert trainer.reweighter is None
    trainer.train()
    by_settings = trainer_of(tmp_path, reweighter={"weighting": SampleWeights(8)})
    by_settings.train()
    assert trainer.export_weights()["weight"][:] == pytest.approx(
        by_settings.export_weights()["weight"][:], abs=1e-5
    )


def test_a_mixin_behind_the_trainer_or_a_data_set_without_its_name(tmp_path):
    with pytest.raises(TypeError, match="must stand before the trainer"):
        type("Wrong", (Trainer, ReweightMixin), {})
    with pytest.raises(TypeError, match="train_dataset= by name"):
        ReweightTrainer(bert(), arguments(tmp_path), collator(), sentences(8))


def test_a_compute_loss_that_leaves_out_the_weights(tmp_path):
    class Forgetful(ReweightTrainer):
        def compute_loss(self, model, inputs, **others):  # noqa: ARG002
            inputs.pop("reweight_row")
            return model(**inputs).loss

    with pytest.raises(RuntimeError, match="Forgetful has a compute_loss of its own"):
        trainer_of(tmp_path, kind=Forgetful).train()


def test_a_trainer_whose_loss_is_not_known(tmp_path):
    class Ranking(Trainer):
        def compute_loss(self, model, inputs, **others):  # noqa: ARG002
            return model(**inputs).logits.square().mean()

    class Weighted(ReweightMixin, Ranking):
        pass

    with pytest.raises(ValueError, match="Ranking computes a loss of its own"):
        trainer_of(tmp_path, kind=Weighted).train()

    def forward(model, batch):
        return model(batch["input_ids"], batch["attention_mask"]).logits.square().mean(1)

    trainer = trainer_of(tmp_path, kind=Weighted, reweighter={"forward": forward})
    trainer.train()
    assert trainer.last_step.weights.shape == (4,)


def test_a_model_whose_loss_is_another_than_its_kind_says(tmp_path):
    class DoubledForSequenceClassification(BertForSequenceClassification):
        def forward(self, input_ids, attention_mask, labels=None):
            found = super().forward(input_ids, attention_mask, labels=labels)
            if found.loss is not None:
                found.loss = 2 * found.loss
            return found

    with pytest.raises(ValueError, match=r"trains on something else.*compute_loss_func="):
        trainer_of(tmp_path, bert(DoubledForSequenceClassification)).train()


def test_a_model_of_an_unknown_kind(tmp_path):
    class Small(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = torch.nn.Embedding(30, 3)

        def forward(self, input_ids, attention_mask, labels=None):  # noqa: ARG002
            return (self.embedding(input_ids).mean(1),)

    with pytest.raises(ValueError, match=r"what Small takes as its loss is not known"):
        trainer_of(tmp_path, Small(), settings={"save_strategy": "no"}).train()

    def losses(outputs, labels, num_items_in_batch=None):  # noqa: ARG001
        return torch.nn.functional.cross_entropy(outputs[0], labels, reduction="none")

    trainer_of(tmp_path, Small(), compute_loss_func=losses).train()


def test_a_loss_function_that_reduces(tmp_path):
    def losses(outputs, labels, num_items_in_batch=None):  # noqa: ARG001
        return torch.nn.functional.cross_entropy(outputs.logits, labels)

    with pytest.raises(ValueError, match="one number for the whole batch"):
        trainer_of(tmp_path, compute_loss_func=losses).train()


def test_trusted_samples_that_are_missing(tmp_path):
    with pytest.raises(ValueError, match="trusted_dataset= is missing"):
        trainer_of(tmp_path, trusted_dataset=None).train()
    with pytest.raises(ValueError, match="trusted_dataset is empty"):
        trainer_of(tmp_path, trusted_dataset=sentences(4).select([])).train()
    with pytest.raises(TypeError, match="must have a length"):
        trainer_of(tmp_path, trusted_dataset=iter([])).train()
    trainer_of(tmp_path, trusted_dataset=None, reweighter={"scorer": LossMagnitude()}).train()


def test_rows_and_groups_that_are_not_known(tmp_path):
    endless = sentences(8).to_iterable_dataset()
    remembering = {"reweighter": {"weighting": SampleWeights(8)}, "settings": {"max_steps": 2}}
    with pytest.raises(ValueError, match="the train_dataset has no length"):
        trainer_of(tmp_path, train_dataset=endless, **remembering).train()
    trainer = trainer_of(tmp_path, train_dataset=endless, settings={"max_steps": 2})
    trainer.train()
    with pytest.raises(ValueError, match="is not known"):
        trainer.export_weights()
    with pytest.raises(TypeError, match="needs a train_dataset with a length"):
        trainer_of(tmp_path, train_dataset=endless, group_column="label")
    with pytest.raises(ValueError, match="is no column of the train_dataset"):
        trainer_of(tmp_path, group_column="source")
    with pytest.raises(ValueError, match="give group_column="):
        trainer_of(tmp_path, reweighter={"weighting": GroupWeights(3)}).train()
    named = sentences(8, source=["nurse", "crowd"] * 4)
    with pytest.raises(ValueError, match=r"\['crowd'\].*knows nothing"):
        trainer_of(
            tmp_path,
            train_dataset=named,
            group_column="source",
            reweighter={"weighting": GroupWeights(["nurse"])},
        ).train()
    rows = [dict(row, source="nurse") for row in sentences(8)]
    with pytest.raises(TypeError, match="must hold integers"):
        trainer_of(tmp_path, train_dataset=rows, group_column="source").train()
    with pytest.raises(ValueError, match="is not in item"):
        trainer_of(tmp_path, train_dataset=rows, group_column="hospital").train()
    with pytest.raises(ValueError, match="must be below 5"):
        trainer_of(tmp_path, reweighter={"weighting": SampleWeights(5)}).train()


def test_column_names_that_are_taken(tmp_path):
    trainer = trainer_of(tmp_path, reweighter={"scorer": Uniform()})
    trainer.train()
    with pytest.raises(ValueError, match=r"export_weights\(column=\.\.\.\)"):
        trainer.export_weights(column="label")
    with pytest.raises(ValueError, match="left from an earlier trainer"):
        trainer_of(tmp_path, train_dataset=trainer.train_dataset)


def test_memories_of_a_model_that_is_gone(tmp_path):
    def make(reweighter):
        return ReweightTrainer(
            None,
            arguments(tmp_path),
            model_init=lambda: bert(),
            data_collator=collator(),
            train_dataset=sentences(8),
            trusted_dataset=sentences(4, seed=1),
            reweighter=reweighter,
        )

    trainer = make({"dynamics": TrainingDynamics(8)})
    trainer.train()
    with pytest.raises(ValueError, match="trains another model now"):
        trainer.train()
    forgetful = make(None)
    forgetful.train()
    before = forgetful.reweighter
    forgetful.train()
    assert forgetful.reweighter is not before


def test_the_names_used_that_are_not_public_are_there():
    assert callable(Trainer._set_signature_columns_if_needed)
    assert "_signature_columns" in Trainer._remove_unused_columns.__code__.co_names
