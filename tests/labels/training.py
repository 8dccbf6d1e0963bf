"""A training on labels of which every third is wrong."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from reweight import GradientSimilarity, MetaReweighter


def trained_on_wrong_labels(labels: Any) -> tuple[Tensor, Tensor]:
    """Train with `labels` of 90 samples and 3 classes; return the truth and what was given."""
    torch.manual_seed(0)
    centres = 3 * torch.randn(3, 4)
    truth = torch.randint(3, (90,))
    x = centres[truth] + 0.5 * torch.randn(90, 4)
    given = torch.where(torch.arange(90) % 3 == 0, (truth + 1) % 3, truth)
    model = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 3))
    weigh = MetaReweighter(
        model,
        nn.CrossEntropyLoss(reduction="none"),
        scorer=GradientSimilarity(),
        labels=labels,
        trusted_coefficient=1.0,
    )
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    clean = torch.arange(90)[torch.arange(90) % 3 == 1][:12]
    for _ in range(30):
        for ids in torch.randperm(90).split(30):
            step = weigh((x[ids], given[ids]), (x[clean], truth[clean]), ids=ids)
            optimizer.zero_grad()
            step.loss.backward()
            optimizer.step()
    return truth, given
