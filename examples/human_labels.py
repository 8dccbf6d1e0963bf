"""Labels that people got wrong, listed, shown, and written into a page to look through.

People confuse what looks alike, again and again in the same way; the shapes drawn here are mistaken
so. The table says how much of what looks wrong is; the picture shows some of it, with the label
given and the one suggested. `python -m examples.human_labels FOLDER` takes 4,000 photographs of
CIFAR-10N as real people labelled them. A small network learns little of those: more than half of
what is then listed is labelled rightly, hardly less than by plain training.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from examples._data import SHAPES, convnet, draw, photographs, save
from reweight import MendedLabels, MetaReweighter, TrainingDynamics, Uniform, paired

NAMES = ["airplane", "car", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


def drawings(count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the same of shapes: 30 % are taken for what is most like them."""
    random, truth = torch.Generator().manual_seed(0), torch.arange(count) % len(SHAPES)
    images = torch.stack([draw(shape, random) for shape in truth.tolist()])
    alike = torch.tensor([1, 0, 3, 2, 4, 6, 5, 3])[truth]
    return images, torch.where(torch.rand(count, generator=random) < 0.3, alike, truth), truth


def main(
    data: str = "", folder: str = "runs/human_labels", count: int = 2000, epochs: int = 12
) -> dict[str, tuple[int, int]]:
    """Train twice, print a table, write page and picture; return how many are listed, and wrong."""
    images, given, truth = photographs(Path(data), 2 * count) if data else drawings(count)
    names, found = NAMES if data else [*SHAPES], {}
    trusted = TensorDataset(images[-100:], truth[-100:])
    noisy = TensorDataset(images[:-100], given[:-100], torch.arange(len(images) - 100))
    wrong = (given != truth)[:-100]
    print(f"{int(wrong.sum())} of {len(noisy)} labels are wrong")
    for name in ("plain", "MendedLabels"):
        torch.manual_seed(0)
        model = convnet(images.shape[1], len(names))
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
        way: dict[str, Any] = (
            {"scorer": Uniform()}
            if name == "plain"
            else {"labels": MendedLabels(len(noisy), len(names))}
        )
        dynamics, loss = TrainingDynamics(len(noisy)), nn.CrossEntropyLoss(reduction="none")
        reweighter = MetaReweighter(model, loss, dynamics=dynamics, trusted_coefficient=0.1, **way)
        batches = paired(DataLoader(noisy, 50, shuffle=True), DataLoader(trusted, 50, shuffle=True))
        for _ in range(epochs):
            for (x, y, ids), trusted_batch in batches:
                optimizer.zero_grad()
                step = reweighter((x, y), trusted_batch, ids=ids)
                step.loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
        issues = dynamics.find_label_issues(given[:-100], class_names=names)
        flagged = issues.id[: issues.num_issues]
        print(f"{name:12} lists {len(flagged)}, {int(wrong[flagged].sum())} of them wrong")
        found[name] = (len(flagged), int(wrong[flagged].sum()))
    figure = Figure(figsize=(6.4, 3), layout="constrained")
    for place, issue in enumerate(issues[: len(flagged) : len(flagged) // 12 or 1][:12]):
        axes = figure.add_subplot(2, 6, place + 1)
        axes.imshow(images[issue.id].permute(1, 2, 0).squeeze(), "grey")
        axes.set_title(f"{names[issue.given_label]}\n→ {names[issue.suggested_label]}", size=9)
        axes.axis("off")
    save(figure, Path(folder) / "human_labels.png")
    dynamics.report(f"{folder}/issues.html", issues, images=images[:-100])
    return found


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "")
