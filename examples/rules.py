"""Rules as labellers: how far each is to be trusted, learnt while the model trains.

Each label that one of six rules gives is a training sample, and `GroupWeights` remembers one number
a rule: the picture shows what each ends with, in front of its true accuracy. The table compares
with plain training, on every label and on the majority's, and with random weights.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from examples._data import accuracy, save
from reweight import GroupWeights, MetaReweighter, RandomWeights, Uniform, paired

RIGHT = {"keyword": 0.92, "link": 0.85, "length": 0.75, "sender": 0.65, "emoji": 0.4, "hour": 0.3}
SHARE = (0.3, 0.4, 0.5, 0.5, 0.6, 0.6)  # of the messages that each labels


def train(noisy: TensorDataset, trusted: TensorDataset, epochs: int, **settings: Any) -> nn.Module:
    """Train a linear model on rows of ``(message, label, rule)``."""
    torch.manual_seed(0)
    model, loss = nn.Linear(40, 2), nn.CrossEntropyLoss(reduction="none")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    reweighter = MetaReweighter(model, loss, trusted_coefficient=0.1, **settings)
    batches = paired(DataLoader(noisy, 50, shuffle=True), DataLoader(trusted, 25, shuffle=True))
    for _ in range(epochs):
        for (x, y, rule), trusted_batch in batches:
            optimizer.zero_grad()
            step = reweighter((x, y), trusted_batch, groups=rule)
            step.loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    return model


def messages(count: int, topic: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return word counts, ``(count, 40)``, and classes; most words are likelier in one of two."""
    truth = torch.arange(count)[:, None] % 2
    rates = 0.5 * (topic * (2 * truth - 1)).exp()
    return torch.poisson(rates, generator=random), truth[:, 0]


def main(folder: str = "runs/rules", count: int = 600, epochs: int = 5) -> dict[str, float]:
    """Train in each way, print a table, draw the bars; return the weights by rule."""
    random = torch.Generator().manual_seed(0)
    topic = 0.25 * torch.randn(40, generator=random)
    (x, truth), trusted, test = (messages(n, topic, random) for n in (count, 50, 2000))
    right, share = (torch.tensor([*of])[:, None] for of in (RIGHT.values(), SHARE))
    drawn = torch.rand(2, len(RIGHT), count, generator=random)
    said, speaks = torch.where(drawn[0] < right, truth, 1 - truth), drawn[1] < share
    rule, message = speaks.nonzero().T
    noisy = TensorDataset(x[message], said[rule, message], rule)
    votes = ((2 * said - 1) * speaks).sum(0)
    majority = TensorDataset(x, (votes > 0).long(), torch.zeros(count).long())
    by_rule = GroupWeights([*RIGHT])
    ways: list[tuple[str, TensorDataset, dict[str, Any]]] = [
        ("the majority's label, plain", majority, {"scorer": Uniform()}),
        ("every rule's label, plain", noisy, {"scorer": Uniform()}),
        ("every rule's, random weights", noisy, {"scorer": RandomWeights()}),
        ("every rule's, GroupWeights", noisy, {"weighting": by_rule}),
    ]
    for name, data, settings in ways:
        model = train(data, TensorDataset(*trusted), epochs, **settings)
        print(f"{name:30} {accuracy(model, *test):6.1%}")
    axes = (figure := Figure(figsize=(6, 2.7))).subplots()
    axes.bar([*RIGHT], right[:, 0], 0.8, color="lightgrey", label="true accuracy")
    axes.bar([*RIGHT], by_rule.weights, 0.4, label="weight learnt")
    axes.legend()
    save(figure, Path(folder) / "rules.png")
    return by_rule.by_name()


if __name__ == "__main__":
    main()
