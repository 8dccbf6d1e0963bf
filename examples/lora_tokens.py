"""LoRA fine-tuning with a weight for each token, kept as a column of the data.

The text counts by 1, 2 or 3 round a clock of 16 hours, and its writer mostly put a 12 for a 5, and
has three more such habits. Adapters (peft) on a tiny model that counts by 1 are judged by 40 rows
without errors. The picture is what `export_weights()` returns, wrong tokens in red: they end with a
third of the weight of right ones. The table has the loss on rows without errors.
"""

# mypy: disable-error-code="import-untyped"
from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from matplotlib.figure import Figure
from peft import LoraConfig, get_peft_model
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, TrainingArguments

from examples._data import QUIET_TRAINER, save
from reweight import Uniform
from reweight.integrations.transformers import ReweightTrainer

SIZES: Any = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}


def counting(count: int, steps: list[int], wrong: float, seed: int) -> tuple[Dataset, Tensor]:
    """Return sequences, and which of their tokens are wrong, ``(count, 20)``."""
    random = torch.Generator().manual_seed(seed)
    start = torch.randint(16, (count, 1), generator=random)
    step = torch.tensor(steps)[torch.randint(len(steps), (count, 1), generator=random)]
    right = (start + step * torch.arange(20)) % 16
    habit = (right % 4 == 1) & (torch.rand(right.shape, generator=random) < wrong)
    text = torch.where(habit, (right + 7) % 16, right).tolist()
    columns = {"input_ids": text, "labels": text, "attention_mask": [[1] * 20] * count}
    return Dataset.from_dict(columns), habit


def main(folder: str = "runs/lora_tokens", count: int = 400, epochs: int = 15) -> dict[str, float]:
    """Train the model, then adapters in three ways; print a table, draw rows, return the table."""
    (noisy, wrong), by_token = counting(count, [1, 2, 3], 0.7, seed=0), {"granularity": "element"}
    trusted, test = (counting(n, [1, 2, 3], 0.0, seed=n)[0] for n in (40, 200))

    def trainer(model: Any, data: Dataset, epochs: int, **options: Any) -> ReweightTrainer:
        args = TrainingArguments(folder, 32, epochs, learning_rate=5e-3, **QUIET_TRAINER)
        sets = {"train_dataset": data, "trusted_dataset": trusted, "eval_dataset": test}
        return ReweightTrainer(model, args, reweighter={**by_token, **options}, **sets)

    torch.manual_seed(0)
    base, found = LlamaForCausalLM(LlamaConfig(vocab_size=16, num_attention_heads=2, **SIZES)), {}
    trainer(base, counting(800, [1], 0.0, seed=1)[0], 6, scorer=Uniform()).train()
    plain, judged = {"scorer": Uniform()}, {"trusted_coefficient": 0.1}
    ways: Any = {"plain": plain, "plain + trusted loss": {**plain, **judged}, "weighted": judged}
    for name, options in ways.items():
        torch.manual_seed(0)
        adapters = LoraConfig(task_type="CAUSAL_LM", target_modules="all-linear")
        tuned = trainer(get_peft_model(deepcopy(base), adapters), noisy, epochs, **options)
        tuned.train()
        found[name] = tuned.evaluate()["eval_loss"]
        print(f"{name:20} loss {found[name]:.3f}")
    weighted = tuned.export_weights()  # the first token is not predicted: no weight is its own
    text, weight = (torch.tensor(weighted[name])[:, 1:] for name in ("input_ids", "weight"))
    found["right"], found["wrong"] = (weight[of[:, 1:]].mean().item() for of in (~wrong, wrong))
    print("mean weight of right tokens {right:.2f}, of wrong ones {wrong:.2f}".format(**found))
    axes = (figure := Figure(figsize=(8, 2.7))).subplots()
    figure.colorbar(axes.imshow(weight[:7], "Greens", vmin=0, vmax=3.5), label="weight")
    for row, column in (text[:7] >= 0).nonzero().tolist():
        colour = "red" if wrong[row, column + 1] else "black"
        axes.text(column, row, str(int(text[row, column])), color=colour, ha="center", va="center")
    axes.axis("off")
    save(figure, Path(folder) / "lora_tokens.png")
    return found


if __name__ == "__main__":
    main()
