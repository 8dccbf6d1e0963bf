"""Plain training, random weights and learnt ones, on points of which a quarter is labelled wrong.

One label in ten is wrong, and most of one corner; somebody has checked 40 points. The loop is the
README's. Plain training learns the corner as it is labelled, and neither the loss of the checked
points nor random weights mend it; `MendedLabels` finds that the corner harms them. The picture
shows the labels given, what is predicted of each place, and which labels were found wrong.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from examples._data import accuracy, moons, moons_labelled, save
from reweight import MendedLabels, MetaReweighter, RandomWeights, TrainingDynamics, Uniform, paired


def train(
    noisy: TensorDataset, trusted: TensorDataset, epochs: int, **settings: Any
) -> tuple[nn.Module, TrainingDynamics]:
    """Train a small network in the README's loop; return what was learnt of the samples too."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 64), nn.ReLU(), nn.Linear(64, 2))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    dynamics = TrainingDynamics(len(noisy))
    loss = nn.CrossEntropyLoss(reduction="none")
    reweighter = MetaReweighter(model, loss, dynamics=dynamics, **settings)
    batches = paired(DataLoader(noisy, 50, shuffle=True), DataLoader(trusted, 20, shuffle=True))
    for _ in range(epochs):
        for (x, y, ids), trusted_batch in batches:
            optimizer.zero_grad()
            step = reweighter((x, y), trusted_batch, ids=ids)
            step.loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    return model, dynamics


def main(folder: str = "runs/quickstart", count: int = 1000, epochs: int = 20) -> dict[str, float]:
    """Train four times, print a table and draw a picture; return each way's accuracy."""
    random = torch.Generator().manual_seed(0)
    x, truth, labels = moons_labelled(count, random)
    (good, right), test = moons(40, random), moons(2000, random)
    wrong = labels != truth
    noisy, trusted = TensorDataset(x, labels, torch.arange(count)), TensorDataset(good, right)
    ways: dict[str, dict[str, Any]] = {
        "plain": {"scorer": Uniform()},
        "plain + trusted loss": {"scorer": Uniform(), "trusted_coefficient": 0.1},
        "random weights": {"scorer": RandomWeights(0), "trusted_coefficient": 0.1},
        "MendedLabels": {"labels": MendedLabels(count, 2), "trusted_coefficient": 0.1},
    }
    found, figure = {}, Figure(figsize=(8, 3.4), layout="constrained")
    side = torch.stack(torch.meshgrid(*[torch.linspace(-2, 2, 200)] * 2, indexing="xy"), 2)
    print(f"{int(wrong.sum())} of {count} labels are wrong\n{'':22} accuracy  flagged  truly wrong")
    for place, (name, settings) in enumerate(ways.items()):
        model, dynamics = train(noisy, trusted, epochs, **settings)
        issues = dynamics.find_label_issues(labels)
        flagged = issues.id[issues.is_label_issue]
        found[name] = accuracy(model, *test)
        print(f"{name:22} {found[name]:8.1%} {len(flagged):8} {int(wrong[flagged].sum()):12}")
        if name in ("plain", "MendedLabels"):
            axes = figure.add_subplot(1, 2, 1 + place // 3, xticks=[], yticks=[])
            ground = model(side).argmax(2)
            axes.imshow(ground, "coolwarm", alpha=0.3, origin="lower", extent=(-2, 2, -2, 2))
            axes.scatter(x[:, 0], x[:, 1], s=9, c=labels, cmap="coolwarm")
            at = x[flagged]
            axes.scatter(at[:, 0], at[:, 1], s=34, fc="none", ec="black", label="flagged")
            axes.set(title=f"{name}: {found[name]:.0%} right", ylim=(-1.5, 1.5))
            axes.legend(loc="lower left")
    save(figure, Path(folder) / "quickstart.png")
    return found


if __name__ == "__main__":
    main()
