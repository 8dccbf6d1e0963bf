"""The tensors that one run trains and is judged on."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.label_noise.dataset import Dataset
from benchmarks.label_noise.noise import confusions, corrupt, pool_counts, rarer_half
from benchmarks.label_noise.settings import Settings
from benchmarks.label_noise.splits import per_class, split

Labelled = tuple[Tensor, Tensor]


@dataclass(frozen=True, eq=False)
class Problem:
    """Inputs are ``(n, 1, H, W)``, standardised by the pool; labels are ``(n,)``.

    Attributes:
        pool: Inputs and noisy labels.
        truth: True labels of the pool.
        trusted: Inputs and true labels; empty where there is no trusted set.
        validation: Inputs and true labels.
        test: Inputs and true labels.
        classes: Number of classes.
        rare: ``(n,)`` whether a sample of the pool is of the rarer half of the classes; ``None``
            if all are as frequent.
        rare_classes: Those classes; empty if all are as frequent.
    """

    pool: Labelled
    truth: Tensor
    trusted: Labelled
    validation: Labelled
    test: Labelled
    classes: int
    rare: Tensor | None
    rare_classes: tuple[int, ...]


def make_problem(
    data: Dataset, settings: Settings, noise: str, trusted: int | None, seed: int
) -> Problem:
    """Split the data and put the noise in; ``teacher`` noise leaves the true labels for now.

    Raises:
        UserError: If the data are too few, or a size does not fit them.
    """
    reserved = per_class("--validation", settings.validation, data.classes)
    reserved += per_class("--trusted", trusted or 0, data.classes)
    counts = pool_counts(noise, data.labels, settings.pool, reserved, seed)
    parts = split(data.labels, counts, settings.validation, trusted, seed)
    pixels = data.images[parts.pool].float() / 255
    mean, deviation = pixels.mean(), pixels.std().clamp(min=1e-6)

    def inputs(images: Tensor) -> Tensor:
        return ((images.float() / 255 - mean) / deviation).unsqueeze(1)

    def labelled(indices: Tensor) -> Labelled:
        return inputs(data.images[indices]), data.labels[indices]

    images, truth = labelled(parts.pool)
    labels = truth
    if noise != "teacher":
        pairs = confusions(settings.confusions, data.classes)
        labels = corrupt(noise, truth, data.classes, pairs, seed)
    rare_classes = tuple(rarer_half(counts)) if len(set(counts)) > 1 else ()
    return Problem(
        pool=(images, labels),
        truth=truth,
        trusted=labelled(parts.trusted),
        validation=labelled(parts.validation),
        test=(inputs(data.test_images), data.test_labels),
        classes=data.classes,
        rare=torch.isin(truth, torch.tensor(rare_classes)) if rare_classes else None,
        rare_classes=rare_classes,
    )
