"""A scorer, a weighting and a selector of one's own, each of a few lines.

The scorer says how probable the model finds the label given, the weighting remembers each sample's
mean score, the selector leaves out a tenth of each batch; none needs a trusted sample. Wrong labels
end with far less weight than right ones; errors being random, plain training is right more often.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from examples._data import accuracy, moons
from reweight import MetaReweighter, ScoringContext, Uniform, WeightingContext


def certainty(context: ScoringContext) -> Tensor:
    """Score a sample by the probability of the label given, ``(C,)``."""
    return context.losses.neg().exp()


class RunningMean:
    """Weigh a sample by the running mean of its scores; the reweighter saves its state."""

    def __init__(self, count: int) -> None:
        self.needs, self.mean = {"ids": count}, torch.full((count,), 0.5)

    def learn(self, context: WeightingContext) -> None:
        """Take in the scores of a step."""
        (score,) = context.scores.values()
        self.mean[context.ids] += 0.1 * (score - self.mean[context.ids])

    def __call__(self, context: WeightingContext) -> Tensor:
        """Return weights, ``(N,)``; they are divided by their sum."""
        return self.mean[context.ids]

    def state_dict(self) -> dict[str, Tensor]:
        """Return what is remembered."""
        return {"mean": self.mean}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take what ``state_dict`` returned."""
        self.mean = state["mean"].clone()


def without_the_least(weights: Tensor) -> Tensor:
    """Set the lowest tenth of the weights to zero."""
    return weights * (weights >= weights.quantile(0.1))


def main(count: int = 1000, epochs: int = 20) -> dict[str, float]:
    """Train plainly and with the parts above; return accuracies and mean weights."""
    random, memory, found = torch.Generator().manual_seed(0), RunningMean(count), {}
    (x, truth), test = moons(count, random), moons(2000, random)
    wrong = torch.rand(count, generator=random) < 0.4
    data = TensorDataset(x, torch.where(wrong, 1 - truth, truth), torch.arange(count))
    own: Any = {"scorer": certainty, "weighting": memory, "selector": without_the_least}
    for name, settings in (("plain", {"scorer": Uniform()}), ("your own", own)):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(2, 64), nn.ReLU(), nn.Linear(64, 2))
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        reweighter = MetaReweighter(model, nn.CrossEntropyLoss(reduction="none"), **settings)
        for _ in range(epochs):
            for at, label, ids in DataLoader(data, 50, shuffle=True):
                optimizer.zero_grad()
                reweighter((at, label), ids=ids).loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
        found[name] = accuracy(model, *test)
        print(f"accuracy, {name:8} {found[name]:6.1%}")
    found["right"], found["wrong"] = (memory.mean[of].mean().item() for of in (~wrong, wrong))
    print("mean weight of right labels {right:.2f}, of wrong ones {wrong:.2f}".format(**found))
    return found


if __name__ == "__main__":
    main()
