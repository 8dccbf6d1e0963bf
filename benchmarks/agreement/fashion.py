"""A small network on images of clothes, 40 % of whose labels are wrong."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from benchmarks.agreement.task import Task, draws
from benchmarks.sets.fashion import make_problem
from benchmarks.sets.idx_folder import read_images

_RATE, _BATCH, _TRUSTED = 0.05, 100, 1000


def fashion(folder: Path, seed: int) -> Task:
    """Return the experiment ``symmetric-40`` of :mod:`benchmarks.label_noise`.

    Raises:
        UserError: If the IDX files are not there or not whole.
    """
    problem = make_problem(read_images(folder), "symmetric-40", 5000, 1000, _TRUSTED, seed)
    model = problem.network(seed, "weights")
    return Task(
        f"Fashion-MNIST, 40 % symmetric noise, 5-layer CNN, SGD with momentum at {_RATE}, "
        f"{_BATCH} + {_BATCH} images, {_TRUSTED} trusted",
        model,
        nn.CrossEntropyLoss(reduction="none"),
        torch.optim.SGD(model.parameters(), lr=_RATE, momentum=0.9),
        draws(problem.pool, problem.trusted, _BATCH, seed),
    )
