"""Steps made up by hand, and what a slow loop makes of them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from reweight import GradientSimilarity, Uniform, WeightingContext
from reweight._isolation.predictions import Supervised
from reweight.scorers.mixture import as_mixture


@dataclass
class Step:
    ids: Tensor
    losses: Tensor
    weights: Tensor
    logits: Tensor | None = None
    labels: Tensor | None = None
    scores: Tensor | None = None

    def context(self) -> WeightingContext:
        source = None
        if self.logits is not None:
            source = Supervised(self.logits, self.labels, (-100,)).predictions()
        scorer = Uniform() if self.scores is None else GradientSimilarity()
        return WeightingContext(
            losses=self.losses,
            scores={"s": torch.ones_like(self.losses) if self.scores is None else self.scores},
            mixture=as_mixture(scorer),
            ids=self.ids,
            groups=None,
            training=True,
            _labelled=lambda: None if source is None else (source.labels, source.margins()),
            _logits=lambda: self.logits,
        )


def random_step(generator: torch.Generator, ids: Tensor, classes: int | None, signed: bool) -> Step:
    count = len(ids)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, device="cpu")

    labels = None
    if classes is not None:
        labels = torch.randint(classes, (count,), generator=generator, device="cpu")
        labels[normal(count) < -1.3] = -100
    made = (
        ids,
        normal(count).abs(),
        normal(count).abs(),
        None if classes is None else normal(count, classes) * 3,
        labels,
        normal(count) if signed else None,
    )
    device = torch.get_default_device()
    return Step(*(None if value is None else value.to(device) for value in made))


def slow(num_samples: int, steps: list[Step], classes: int | None) -> list[dict[str, object]]:
    """What is to be remembered of each id, by loops over Python numbers."""
    found: list[dict[str, object]] = []
    for row in range(num_samples):
        of = {name: [] for name in ("loss", "weight", "margin", "own", "other", "z")}
        parts = {"labelled": 0.0, "times": 0, "negative": 0.0}
        chances = [0.0] * (classes or 0)
        given, last = -1, math.nan
        for step in steps:
            places = [n for n, i in enumerate(step.ids.tolist()) if i == row]
            if not places:
                continue
            parts["times"] += 1
            of["loss"].append(_mean(float(step.losses[n]) for n in places))
            last = _mean(float(step.weights[n]) for n in places)
            of["weight"].append(last)
            if step.scores is not None:
                values = step.scores.double().tolist()
                rms = math.sqrt(sum(v * v for v in values) / len(values)) or 1.0
                z = [max(-3.0, min(3.0, values[n] / rms)) for n in places]
                of["z"].append(_mean(z))
                parts["negative"] += _mean(float(v < 0) for v in z)
            if step.logits is None:
                continue
            labels = []
            for n in places:
                logits = step.logits[n].double().tolist()
                total = sum(math.exp(v) for v in logits)
                for k, value in enumerate(logits):
                    chances[k] += math.exp(value) / total / len(places)
                label = int(step.labels[n])
                labels.append(label if label >= 0 else -1)
                if label < 0:
                    continue
                rest = [v for k, v in enumerate(logits) if k != label]
                parts["labelled"] += 1 / len(places)
                of["margin"].append((logits[label] - max(rest)) / len(places))
                of["own"].append(math.log(math.exp(logits[label]) / total) / len(places))
                of["other"].append(math.exp(max(rest)) / total / len(places))
            given = labels[0] if len(set(labels)) == 1 else -1
        labelled = parts["labelled"] or math.nan
        found.append(
            {
                "times_seen": parts["times"],
                "mean_loss": _mean(of["loss"]),
                "mean_weight": _mean(of["weight"]),
                "last_weight": last,
                "mean_margin": sum(of["margin"]) / labelled,
                "given_probability": math.exp(sum(of["own"]) / labelled),
                "other_probability": sum(of["other"]) / labelled,
                "similarity": sum(of["z"]) if of["z"] else math.nan,
                "share_negative": parts["negative"] / len(of["z"]) if of["z"] else math.nan,
                "given_labels": given,
                "mean_probabilities": [
                    c / parts["times"] if parts["times"] else math.nan for c in chances
                ],
            }
        )
    return found


def _mean(values) -> float:
    values = list(values)
    return sum(values) / len(values) if values else math.nan
