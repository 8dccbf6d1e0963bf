"""Find the wrong labels of a data set and see them: ``python -m examples.wrong_labels``.

Drawn shapes stand for your images: 2,000 of them, 30 % with a wrong label, beside 80 that somebody
has checked. It takes half a minute and writes ``runs/wrong_labels/issues.html``.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from examples._data import SHAPES, convnet, draw
from reweight import MendedLabels, MetaReweighter, TrainingDynamics, paired


def main(folder: str = "runs/wrong_labels", count: int = 2000, epochs: int = 12) -> float:
    """Train, list and report; return which share of the labels is right once mended."""
    random = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    truth = torch.arange(count + 80) % len(SHAPES)
    images = torch.stack([draw(shape, random) for shape in truth.tolist()])
    other = (truth + torch.randint(1, len(SHAPES), truth.shape, generator=random)) % len(SHAPES)
    labels = torch.where(torch.rand(len(truth), generator=random) < 0.3, other, truth)[:count]
    noisy = TensorDataset(images[:count], labels, torch.arange(count))
    trusted = TensorDataset(images[count:], truth[count:])

    model = convnet(1, len(SHAPES))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    dynamics = TrainingDynamics(count)
    reweighter = MetaReweighter(
        model,
        nn.CrossEntropyLoss(reduction="none"),
        labels=MendedLabels(count, len(SHAPES)),
        trusted_coefficient=0.1,
        dynamics=dynamics,
    )
    batches = paired(DataLoader(noisy, 50, shuffle=True), DataLoader(trusted, 40, shuffle=True))
    for _ in range(epochs):
        for (x, y, ids), trusted_batch in batches:
            optimizer.zero_grad()
            step = reweighter((x, y), trusted_batch, ids=ids)
            step.loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()

    issues = dynamics.find_label_issues(labels, class_names=list(SHAPES))
    print(issues.head(8))
    mended = labels.clone()
    mended[issues.id] = issues.suggested_label
    before, after = ((found == truth[:count]).double().mean().item() for found in (labels, mended))
    print(f"{before:.1%} of the labels were right; with those suggested, {after:.1%}.")
    path = Path(folder) / "issues.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    dynamics.report(path, issues, images=images[:count], title="Drawn shapes, 30 % labelled wrong")
    print(f"report: {path}")
    return after


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "runs/wrong_labels")
