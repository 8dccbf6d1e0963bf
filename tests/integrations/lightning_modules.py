"""Modules and loaders that the Lightning tests share, and the plain loop they are held against."""

from __future__ import annotations

import copy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from reweight import GradientSimilarity, LastLayerGradient, MetaReweighter, SampleWeights
from reweight.step import ReweightedStep
from tests.compatibility.frameworks import need

need("lightning")

from lightning.pytorch import LightningModule, Trainer  # noqa: E402
from lightning.pytorch.callbacks import ModelCheckpoint  # noqa: E402, F401
from lightning.pytorch.loggers import CSVLogger  # noqa: E402, F401

from reweight.integrations.lightning import ReweightedModule  # noqa: E402

COUNT = 24


def network() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))


def options() -> dict[str, Any]:
    # One way to take derivatives: the clock would choose one, and they differ by rounding.
    scorer = GradientSimilarity("forward") / LastLayerGradient()
    weighting = SampleWeights(COUNT)
    return {"scorer": scorer, "weighting": weighting, "trusted_coefficient": 0.1}


def losses(model: nn.Module, batch: Any) -> Tensor:
    x, y, *_ = batch
    return F.cross_entropy(model(x), y, reduction="none")


def sgd(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01)


def data() -> tuple[TensorDataset, TensorDataset]:
    random = torch.Generator().manual_seed(7)
    x = torch.randn(COUNT + 12, 5, generator=random)
    y = torch.randint(3, (COUNT + 12,), generator=random)
    ids = torch.arange(COUNT)
    return TensorDataset(x[:COUNT], y[:COUNT], ids), TensorDataset(x[COUNT:], y[COUNT:])


def loaders(shuffle: bool = False) -> dict[str, DataLoader[Any]]:
    noisy, trusted = data()
    return {
        "noisy": DataLoader(noisy, 6, shuffle=shuffle),
        "trusted": DataLoader(trusted, 4, shuffle=shuffle),
    }


def pairs(epochs: int) -> list[tuple[Any, Any]]:
    """What Lightning's loader gives: both begin again in every epoch, and the shorter within."""
    noisy, trusted = loaders().values()
    one = list(trusted)
    return [(b, one[i % len(one)]) for _ in range(epochs) for i, b in enumerate(noisy)]


class Classifier(ReweightedModule, LightningModule):
    """A network of a user's, with all that is asked for."""

    def __init__(self, **given: Any) -> None:
        super().__init__()
        self.net = network()
        self.given = {**options(), **given}
        self.taken: list[ReweightedStep] = []

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)

    def configure_reweighter(self) -> dict[str, Any]:
        return copy.deepcopy(self.given)

    def batch_ids(self, noisy: Any) -> Tensor:
        return noisy[2]

    def sample_losses(self, batch: Any) -> Tensor:
        return losses(self, batch)

    def reweight(self, *args: Any, **kwargs: Any) -> ReweightedStep:
        step = super().reweight(*args, **kwargs)
        self.taken.append(step)
        return step

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return sgd(self)


def trainer(**given: Any) -> Trainer:
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    return Trainer(accelerator="cpu", **{"devices": 1, "max_epochs": 2, **quiet, **given})


def plain_loop(
    batches: list[tuple[Any, Any]], accumulate: int = 1, autocast: bool = False, **given: Any
) -> tuple[nn.Module, list[ReweightedStep]]:
    """Train with the library alone; an optimiser that has nothing to learn from rests."""
    model = network()
    optimizer = sgd(model)
    reweighter = MetaReweighter(model, forward=losses, **{**options(), **given})
    steps: list[ReweightedStep] = []
    optimizer.zero_grad()
    for number, (noisy, trusted) in enumerate(batches, start=1):
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            steps.append(reweighter(noisy, trusted, ids=noisy[2]))
        (steps[-1].loss / accumulate).backward()
        if number % accumulate == 0:
            learns = any(p.grad is not None and p.grad.any() for p in model.parameters())
            if learns:
                optimizer.step()
            optimizer.zero_grad()
    return model, steps
