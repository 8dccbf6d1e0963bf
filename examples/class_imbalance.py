"""Rare classes: a weight for each, learnt from a balanced trusted set.

Eight shapes, the commonest many times as frequent as the rarest, and five of each to judge by.
`GroupWeights` with the class as the group lifts the rare ones above plain training. One over the
frequency, which needs no trusted set, does better still: try that first, and learn weights where
more than numbers is wrong with a class.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from examples._data import SHAPES, convnet, draw, save
from reweight import GroupWeights, MetaReweighter, Uniform, paired


def train(data: TensorDataset, trusted: TensorDataset, epochs: int, **settings: Any) -> nn.Module:
    """Train a small network on samples whose groups are their classes."""
    model = convnet(1, len(SHAPES))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    loss = nn.CrossEntropyLoss(reduction="none")
    reweighter = MetaReweighter(model, loss, trusted_coefficient=0.1, **settings)
    batches = paired(DataLoader(data, 50, shuffle=True), DataLoader(trusted, 40, shuffle=True))
    for _ in range(epochs):
        for (x, y), trusted_batch in batches:
            optimizer.zero_grad()
            step = reweighter((x, y), trusted_batch, groups=y)
            step.loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    return model


def main(
    folder: str = "runs/class_imbalance", count: int = 1000, epochs: int = 10, seeds: int = 3
) -> dict[str, Tensor]:
    """Train three ways, print a table, draw recall by class; return recall by way."""
    random, classes = torch.Generator().manual_seed(0), len(SHAPES)
    often = torch.multinomial(torch.logspace(0, -1.7, classes), count, True, generator=random)
    kinds = often, torch.arange(5 * classes) % classes, torch.arange(50 * classes) % classes
    images = [torch.stack([draw(shape, random) for shape in of.tolist()]) for of in kinds]
    rare = 1 / (numbers := often.bincount(minlength=classes))
    data, trusted = (TensorDataset(images[part], kinds[part]) for part in (0, 1))
    ways: dict[str, Any] = {
        "plain": lambda: {"scorer": Uniform()},
        "1 / frequency": lambda: {"scorer": Uniform(), "weighting": lambda c: rare[c.groups]},
        "GroupWeights": lambda: {"weighting": GroupWeights([*SHAPES], rate=0.03)},
    }
    found, axes = {}, (figure := Figure(figsize=(8, 3))).subplots()
    print(f"{'recall in %':14} mean" + "".join(f"{name:>9}" for name in SHAPES))
    print(f"{'how many':19}" + "".join(f"{number:9}" for number in numbers.tolist()))
    for place, (name, settings) in enumerate(ways.items()):
        right = torch.zeros(classes)
        for seed in range(seeds):
            torch.manual_seed(seed)
            model = train(data, trusted, epochs, **settings())
            hits = model(images[2]).argmax(1) == kinds[2]
            right += hits.view(-1, classes).float().mean(0) / seeds
        found[name] = right
        print(f"{name:14} {right.mean():4.0%}" + "".join(f"{r:9.0%}" for r in right.tolist()))
        axes.bar(torch.arange(classes) + 0.27 * (place - 1), right, 0.25, label=name)
    axes.set_xticks(range(classes), [f"{n}\n{k}" for n, k in zip(SHAPES, numbers, strict=True)])
    axes.set(ylabel="recall", ylim=(0, 1.2))
    axes.legend(ncols=3, loc="upper center")
    save(figure, Path(folder) / "class_imbalance.png")
    return found


if __name__ == "__main__":
    main()
