"""Fashion-MNIST, or other images in IDX files, with noise of every kind put in."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.errors import UserError
from benchmarks.sets.idx_folder import Images, read_images
from benchmarks.sets.network import build_network
from benchmarks.sets.noise import confusions, corrupt, pool_counts, rarer_half, sources_of
from benchmarks.sets.problem import Labelled, Problem
from benchmarks.sets.setting import Setting
from benchmarks.sets.splits import per_class, split
from benchmarks.sets.teacher import with_teacher_labels


class Fashion:
    """The four IDX files of a folder.

    Args:
        folder: Where they are.

    Raises:
        UserError: If one is missing or damaged, or they do not fit together.
    """

    def __init__(self, folder: Path) -> None:
        self.data = read_images(folder)
        self.digest = self.data.digest

    def problem(self, setting: Setting, trusted: int, seed: int) -> Problem:
        """Return images and labels of a task.

        Raises:
            UserError: If the data are too few, or a size does not fit them.
        """
        if setting.batch > setting.pool:
            raise UserError(f"--batch {setting.batch} is more than --pool {setting.pool}.")
        problem = make_problem(
            self.data, setting.noise, setting.pool, setting.validation, trusted, seed
        )
        if setting.noise != "teacher":
            return problem
        steps = min(setting.epochs, 10) * max(1, setting.pool // setting.batch)
        return with_teacher_labels(problem, steps, setting.batch, seed)


def make_problem(
    data: Images, noise: str, pool: int, validation: int, trusted: int, seed: int
) -> Problem:
    """Split the data and put the noise in; ``teacher`` noise leaves the true labels for now.

    Raises:
        UserError: If the data are too few, or a size does not fit them.
    """
    reserved = per_class("--validation", validation, data.classes)
    reserved += per_class("--trusted", trusted, data.classes)
    counts = pool_counts(noise, data.labels, pool, reserved, seed)
    parts = split(data.labels, counts, validation, trusted, seed)
    pixels = data.images[parts.pool].float() / 255
    mean, deviation = pixels.mean(), pixels.std().clamp(min=1e-6)

    def inputs(images: Tensor) -> Tensor:
        return ((images.float() / 255 - mean) / deviation).unsqueeze(1)

    def labelled(indices: Tensor) -> Labelled:
        return inputs(data.images[indices]), data.labels[indices]

    height, width = data.images.shape[1:]

    def network(seed: int, purpose: str) -> nn.Module:
        return build_network(height, width, data.classes, seed, purpose)

    images, truth = labelled(parts.pool)
    rare_classes = tuple(rarer_half(counts)) if len(set(counts)) > 1 else ()
    problem = Problem(
        pool=(images, truth),
        truth=truth,
        trusted=labelled(parts.trusted),
        validation=labelled(parts.validation),
        test=(inputs(data.test_images), data.test_labels),
        classes=data.classes,
        network=network,
        rare=torch.isin(truth, torch.tensor(rare_classes)) if rare_classes else None,
        rare_classes=rare_classes,
    )
    if noise == "teacher":
        return problem
    pairs = confusions(data.classes)
    groups, sources = sources_of(noise, len(truth), seed)
    labels = corrupt(noise, truth, data.classes, pairs, seed, groups)
    return replace(problem, pool=(images, labels), groups=groups, sources=sources)
