"""Lightning: a module whose training step weighs its samples.

`ReweightedModule` stands before `LightningModule`, `sample_losses` in place of `training_step`, and
the trainer is given a noisy and a trusted loader. The rest is Lightning's: here the fit stops half
way and is resumed by `ckpt_path=`, and what was remembered of each sample comes back with it. The
points are those of `quickstart`, of which one corner is labelled wrong.
"""

from __future__ import annotations

import logging
from typing import Any

import torch
from lightning import LightningModule, Trainer
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from examples._data import accuracy, moons, moons_labelled
from reweight import MendedLabels, SampleLosses, TrainingDynamics, Uniform
from reweight.integrations.lightning import ReweightedModule

QUIET: Any = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}


class Classifier(ReweightedModule, LightningModule):
    """A small network on points, with options of a ``MetaReweighter``."""

    def __init__(self, options: dict[str, Any]) -> None:
        super().__init__()
        self.options = options
        self.network = nn.Sequential(nn.Linear(2, 64), nn.ReLU(), nn.Linear(64, 2))

    def configure_reweighter(self) -> dict[str, Any]:  # noqa: D102
        return self.options

    def sample_losses(self, batch: Any) -> SampleLosses:  # noqa: D102
        logits = self.network(batch[0])
        losses = nn.functional.cross_entropy(logits, batch[1], reduction="none")
        return SampleLosses(losses, logits=logits, labels=batch[1])

    def batch_ids(self, noisy: Any) -> Any:  # noqa: D102
        return noisy[2]

    def configure_optimizers(self) -> torch.optim.Optimizer:  # noqa: D102
        return torch.optim.Adam(self.parameters(), lr=0.01)


def main(folder: str = "runs/lightning_module", count: int = 1000, epochs: int = 20) -> list[float]:
    """Train plainly and with mended labels, each in two halves; return the accuracies."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    random, path, found = torch.Generator().manual_seed(0), f"{folder}/half.ckpt", []
    x, truth, labels = moons_labelled(count, random)
    noisy = DataLoader(TensorDataset(x, labels, torch.arange(count)), 50, shuffle=True)
    trusted = DataLoader(TensorDataset(*moons(40, random)), 20, shuffle=True)
    loaders, test = {"noisy": noisy, "trusted": trusted}, moons(2000, random)
    for name in ("plain", "MendedLabels"):
        for half in (1, 2):  # the second might be in another process
            torch.manual_seed(half)
            dynamics = TrainingDynamics(count)
            mended = {"labels": MendedLabels(count, 2), "trusted_coefficient": 0.1}
            options: dict[str, Any] = {"scorer": Uniform()} if name == "plain" else mended
            model = Classifier({**options, "dynamics": dynamics})
            trainer = Trainer(max_epochs=epochs * half // 2, enable_checkpointing=False, **QUIET)
            trainer.fit(model, loaders, ckpt_path=path if half == 2 else None)
            trainer.save_checkpoint(path)
        issues = dynamics.find_label_issues(labels)
        hits = int((labels != truth)[issues.id[: issues.num_issues]].sum())
        found.append(accuracy(model.network, *test))
        print(
            f"{name:12} {found[-1]:.1%} right; {hits} of {issues.num_issues} flagged are wrong",
            end="",
        )
        print(f"; each seen {int(dynamics.times_seen.min())} times")
    return found


if __name__ == "__main__":
    main()
