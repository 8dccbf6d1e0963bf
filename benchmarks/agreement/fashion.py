"""A small network on images of clothes, 40 % of whose labels are wrong."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from benchmarks.agreement.task import Task, draws
from benchmarks.label_noise.dataset import read_dataset
from benchmarks.label_noise.network import build_network
from benchmarks.label_noise.problem import make_problem
from benchmarks.label_noise.settings import Settings

_RATE, _BATCH, _TRUSTED = 0.05, 100, 1000


def fashion(folder: Path, seed: int) -> Task:
    """Return the experiment ``symmetric-40`` of :mod:`benchmarks.label_noise`.

    Raises:
        UserError: If the IDX files are not there or not whole.
    """
    data = read_dataset(folder)
    settings = Settings(
        5000, 1000, _BATCH, 1, 0.9, 0.1, "next", data=data.digest, torch=torch.__version__
    )
    problem = make_problem(data, settings, "symmetric-40", _TRUSTED, seed)
    height, width = problem.pool[0].shape[2:]
    model = build_network(height, width, problem.classes, seed, "weights")
    return Task(
        f"Fashion-MNIST, 40 % symmetric noise, 5-layer CNN, SGD with momentum at {_RATE}, "
        f"{_BATCH} + {_BATCH} images, {_TRUSTED} trusted",
        model,
        nn.CrossEntropyLoss(reduction="none"),
        torch.optim.SGD(model.parameters(), lr=_RATE, momentum=0.9),
        draws(problem.pool, problem.trusted, _BATCH, seed),
    )
