"""A small training with ids and groups, and the slow loop of what its weightings remember."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from reweight import GradientSimilarity, MetaReweighter, ReweightedStep
from tests.problems import float64

ROWS, GROUPS, CLASSES = 20, 3, 3
LOSS = nn.CrossEntropyLoss(reduction="none")


class Training:
    """Classification in float64; every batch another, some with one id several times."""

    def __init__(self, weighting: Any, *, sequence: int = 0, **options: Any) -> None:
        with float64():
            self.model: nn.Module = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, CLASSES))
            self.trusted = self.batch(99, 6, sequence)[0]
        self.sequence = sequence
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.2)
        options.setdefault("scorer", GradientSimilarity())
        loss = LOSS if not sequence else sequence_loss
        self.reweighter = MetaReweighter(self.model, loss, weighting=weighting, **options)

    @staticmethod
    def batch(number: int, size: int, sequence: int = 0) -> tuple[Any, Tensor, Tensor]:
        stream = torch.Generator(device="cpu").manual_seed(100 * number + size)
        shape = (size, sequence) if sequence else (size,)
        x = torch.randn(*shape, 6, generator=stream, device="cpu", dtype=torch.float64)
        y = torch.randint(CLASSES, shape, generator=stream, device="cpu")
        ids = torch.randint(ROWS, (size,), generator=stream, device="cpu")
        groups = torch.randint(GROUPS, (size,), generator=stream, device="cpu")
        device = torch.get_default_device()
        return (x.to(device), y.to(device)), ids, groups

    def step(self, number: int, size: int = 8, **given: Any) -> ReweightedStep:
        noisy, ids, groups = self.batch(number, size, self.sequence)
        given = {"ids": ids, "groups": groups} | given
        noisy = given.pop("noisy", noisy)
        self.optimizer.zero_grad()
        step = self.reweighter(noisy, self.trusted, **given)
        step.loss.backward()
        self.optimizer.step()
        return step

    def state(self) -> Any:
        return copy.deepcopy(self.reweighter.state_dict().get("weighting"))


def sequence_loss(output: Tensor, target: Tensor) -> Tensor:
    return LOSS(output.movedim(-1, 1), target)


def standardised(scores: Iterable[float]) -> list[float]:
    scores = list(scores)
    rms = math.sqrt(sum(s * s for s in scores) / len(scores))
    return [max(-3.0, min(3.0, s / rms)) for s in scores]


class Loop:
    """One number a row, step by step and row by row."""

    def __init__(self, rate: float) -> None:
        self.rate, self.phi = rate, {}

    def learn(self, rows: Tensor, scores: Tensor) -> None:
        said: dict[int, list[float]] = {}
        z = standardised(scores.flatten().tolist())
        for row, value in zip(rows.flatten().tolist(), z, strict=True):
            said.setdefault(row, []).append(value)
        for row, values in said.items():
            self.phi[row] = self.phi.get(row, 0.0) + self.rate * sum(values) / len(values)

    def logits(self, rows: Tensor) -> list[float]:
        return [self.phi.get(row, 0.0) for row in rows.flatten().tolist()]


def shares(logits: list[float]) -> Tensor:
    found = [1 / (1 + math.exp(-logit)) for logit in logits]
    return torch.tensor([value / sum(found) for value in found], dtype=torch.float64)


def same_state(one: Any, other: Any) -> bool:
    """Bit for bit; a memory moves to where the first step is computed."""
    if isinstance(one, Tensor):
        return torch.equal(one.cpu(), other.cpu())
    if isinstance(one, dict):
        return set(one) == set(other) and all(same_state(one[k], other[k]) for k in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same_state, one, other))
    return one == other
