"""The ways to take one training step that are compared: forward and backward, no optimiser."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from examples.covid3d.network import build_network
from reweight import GradientSimilarity, LastLayerGradient, MetaReweighter

Step = Callable[[], None]


@dataclass(frozen=True)
class Problem:
    """A model, its loss, and one noisy and one trusted batch."""

    model: nn.Module
    loss: nn.Module
    noisy: tuple[Tensor, Tensor]
    trusted: tuple[Tensor, Tensor]


def unet_problem(
    batch: int, trusted_batch: int, size: int, seed: int, device: torch.device
) -> Problem:
    """Return the 3D U-Net of the paper's Table 1 on random volumes of ``size``³ voxels."""
    torch.manual_seed(seed)
    model = build_network().to(device)

    def volumes(count: int) -> tuple[Tensor, Tensor]:
        images = torch.randn(count, 1, size, size, size, device=device)
        labels = torch.randint(0, 2, (count, size, size, size), device=device)
        return images, labels

    loss = nn.CrossEntropyLoss(reduction="none")
    return Problem(model, loss, volumes(batch), volumes(trusted_batch))


def _plain(problem: Problem) -> Step:
    def step() -> None:
        images, labels = problem.noisy
        losses: Tensor = problem.loss(problem.model(images), labels)
        losses.mean().backward()  # type: ignore[no-untyped-call]

    return step


def _reweighted(**options: Any) -> Callable[[Problem], Step]:
    def build(problem: Problem) -> Step:
        reweighter = MetaReweighter(problem.model, problem.loss, **options)

        def step() -> None:
            reweighter(problem.noisy, problem.trusted).loss.backward()  # type: ignore[no-untyped-call]

        return step

    return build


def _similarity(method: Any) -> Callable[[Problem], Step]:
    return _reweighted(scorer=GradientSimilarity(method))


VARIANTS: dict[str, Callable[[Problem], Step]] = {
    "plain": _plain,
    "default (both scorers)": _reweighted(),
    "default, trusted term": _reweighted(trusted_coefficient=1.0),
    "last layer alone": _reweighted(scorer=LastLayerGradient()),
    "similarity, forward": _similarity("forward"),
    "similarity, per element": _reweighted(scorer=GradientSimilarity(), granularity="element"),
    "similarity, finite difference": _similarity("finite_difference"),
    "similarity, double backward": _similarity("double_backward"),
    "similarity, unrolled": _similarity("unrolled"),
}


def build(name: str, problem: Problem) -> Step:
    """Return the named way to step, which also clears the gradients it made."""
    step = VARIANTS[name](problem)

    def step_and_clear() -> None:
        step()
        problem.model.zero_grad(set_to_none=True)

    return step_and_clear
