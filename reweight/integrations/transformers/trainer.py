"""The Hugging Face Trainer with weighted samples."""

from __future__ import annotations

from transformers import Trainer

from reweight.integrations.transformers.mixin import ReweightMixin


class ReweightTrainer(ReweightMixin, Trainer):
    """A ``transformers.Trainer`` whose training samples are weighed by a trusted batch.

    See :class:`ReweightMixin` for what it takes more than a Trainer.

    Example::

        trainer = ReweightTrainer(
            model,
            TrainingArguments("out"),
            train_dataset=noisy,
            trusted_dataset=trusted,
            reweighter={"weighting": SampleWeights(len(noisy)), "trusted_coefficient": 0.1},
        )
        trainer.train()
        noisy = trainer.export_weights()
    """
