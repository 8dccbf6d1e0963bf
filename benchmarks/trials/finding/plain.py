"""Wrong labels as plain training shows them: mean loss, margins, traces in the trusted samples."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.func import functional_call, jvp
from typing_extensions import override

from benchmarks.sets.problem import Labelled, Problem
from benchmarks.trials.finding.measures import Found
from benchmarks.trials.finding.observer import Observer

if TYPE_CHECKING:
    from benchmarks.trials.training import Training

_CHECKPOINTS = 5
_CHUNK = 500


class PlainTraining(Observer):
    """By hand: the mean loss, the mean margin (AUM, Pleiss et al. 2020) and TracIn.

    TracIn (Pruthi et al. 2020) sums, over checkpoints, the learning rate times the product of a
    sample's gradient with that of the trusted set's mean loss.

    Args:
        problem: The data.
        epochs: Of the training.
    """

    def __init__(self, problem: Problem, epochs: int) -> None:
        self._problem = problem
        count = len(problem.pool[1])
        self._times, self._loss, self._margin, self._trace = torch.zeros(4, count).double()
        every = max(1, epochs // _CHECKPOINTS)
        self._checkpoints = set(range(every - 1, epochs, every))

    @override
    def after_step(self, chosen: Tensor, logits: Tensor) -> None:
        labels = self._problem.pool[1][chosen]
        logits = logits.detach().double()
        given = logits.gather(1, labels[:, None])[:, 0]
        other = logits.scatter(1, labels[:, None], float("-inf")).amax(dim=1)
        losses = nn.functional.cross_entropy(logits, labels, reduction="none")
        for total, values in (
            (self._times, torch.ones_like(losses)),
            (self._loss, losses),
            (self._margin, given - other),
        ):
            total.index_add_(0, chosen, values)

    @override
    def after_epoch(self, model: nn.Module, epoch: int, rate: float) -> None:
        if epoch in self._checkpoints:
            self._trace += rate * products(model, self._problem.pool, self._problem.trusted)

    @override
    def found(self, training: Training) -> dict[str, Found]:
        times = self._times.clamp(min=1)
        return {
            "mean loss": Found(-self._loss / times),
            "AUM": Found(self._margin / times),
            "TracIn": Found(self._trace),
        }


def products(model: nn.Module, pool: Labelled, trusted: Labelled) -> Tensor:
    """Return ⟨∇L_i, ∇L_v⟩ of every sample of the pool, ``(n,)``."""
    parameters = {name: value.detach() for name, value in model.named_parameters()}
    loss = nn.functional.cross_entropy(model(trusted[0]), trusted[1])
    direction = dict(
        zip(parameters, torch.autograd.grad(loss, list(model.parameters())), strict=True)
    )
    found = []
    for inputs, labels in zip(*(torch.split(part, _CHUNK) for part in pool), strict=True):

        def losses(values: dict[str, Tensor], x: Tensor = inputs, y: Tensor = labels) -> Tensor:
            output = functional_call(model, values, (x,))
            return nn.functional.cross_entropy(output, y, reduction="none")

        found.append(jvp(losses, (parameters,), (direction,))[1].detach())
    return torch.cat(found).double()
