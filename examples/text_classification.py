"""Text classification with the Hugging Face Trainer, on labels that a rule has made.

The rule takes every text with "bank" in it to be about money, those about rivers too; somebody has
read 60. `ReweightTrainer` stands in place of `Trainer` and takes these as `trusted_dataset`;
`export_weights()` returns the data with a column of weights. The table compares with equal weights,
without and with the trusted texts. The model is a tiny BERT made from a configuration.
"""

# mypy: disable-error-code="import-untyped"
from __future__ import annotations

import random
from typing import Any

import torch
from datasets import Dataset
from transformers import BertConfig, BertForSequenceClassification, TrainingArguments

from examples._data import QUIET_TRAINER
from reweight import MendedLabels, Uniform
from reweight.integrations.transformers import ReweightTrainer

RIVER = ["water", "fish", "boat", "reed", "flood", "bridge", "mud", "swan"]
MONEY = ["loan", "rate", "credit", "market", "share", "cash", "fund", "debt"]
OTHER = ["the", "of", "a", "near", "in", "was", "old", "they", "went"]
SIZES: Any = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
WORDS = {word: i for i, word in enumerate(["bank", "field", *RIVER, *MONEY, *OTHER])}


def texts(count: int, label: str, seed: int) -> Dataset:
    """Return texts in numbers; their ``label`` is what the ``rule`` says, or the ``truth``."""
    draw, rows = random.Random(seed), []
    for _ in range(count):
        truth = draw.randrange(2)
        rule = int(draw.random() < (0.5, 0.9)[truth])
        words = draw.choices((RIVER, MONEY)[truth], k=3) + draw.choices(OTHER, k=5)
        ids = [WORDS[word] for word in [*words, ("field", "bank")[rule]]]
        said = {"truth": truth, "rule": rule}
        rows.append({"input_ids": draw.sample(ids, 9), "label": said[label], **said})
    return Dataset.from_list(rows)


def main(
    folder: str = "runs/text_classification", count: int = 600, epochs: int = 10
) -> dict[str, float]:
    """Train three times, print accuracies and weights, and return them."""
    noisy, trusted, test = texts(count, "rule", 0), texts(60, "truth", 1), texts(500, "truth", 2)
    config = BertConfig(vocab_size=len(WORDS), intermediate_size=64, **SIZES)
    args = TrainingArguments(
        folder, 32, num_train_epochs=epochs, learning_rate=1e-3, **QUIET_TRAINER
    )
    plain, judged = {"scorer": Uniform()}, {"trusted_coefficient": 0.1}
    ways: dict[str, dict[str, Any]] = {
        "plain": plain,
        "plain + trusted loss": {**plain, **judged},
        "MendedLabels": {"labels": MendedLabels(count, 2), **judged},
    }
    found = {}
    for name, reweighter in ways.items():
        torch.manual_seed(0)
        model = BertForSequenceClassification(config)
        trainer = ReweightTrainer(
            model, args, train_dataset=noisy, trusted_dataset=trusted, reweighter=reweighter
        )
        trainer.train()
        predicted: Any = trainer.predict(test).predictions
        found[name] = float((predicted.argmax(1) == test["label"]).mean())
        print(f"{name:20} {found[name]:6.1%}")
    weighted = trainer.export_weights()
    for kind, is_right in (("right", True), ("wrong", False)):
        rows = [r["weight"] for r in weighted if (r["label"] == r["truth"]) == is_right]
        found[kind] = sum(rows) / len(rows)
        print(f"mean weight of {kind} labels {found[kind]:.2f}")
    return found


if __name__ == "__main__":
    main()
