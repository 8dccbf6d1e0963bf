"""What is remembered goes with the checkpoints of the Trainer."""
# ruff: noqa: E402 - what is missing is skipped before it is imported

from __future__ import annotations

import pytest
import torch

from tests.compatibility.frameworks import need

for _name in ("transformers", "datasets", "accelerate"):
    need(_name)

from transformers import Trainer

from reweight import (
    GradientSimilarity,
    SampleWeights,
    TrainingDynamics,
)
from tests.integrations.tiny_transformers import (
    arguments,
    bert,
    collator,
    sentences,
)
from tests.integrations.weighing_trainer import (
    trainer_of,
    weights_after,
)


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
    assert whole._weighing.seen.by_row() == resumed._weighing.seen.by_row()
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
