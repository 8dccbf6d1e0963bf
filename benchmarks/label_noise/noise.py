"""The kinds of noise: which label each image of the pool gets."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor

from benchmarks.errors import UserError
from benchmarks.label_noise.seeding import generator
from benchmarks.label_noise.splits import per_class

NOISES = (
    "symmetric-40",
    "symmetric-20",
    "symmetric-60",
    "asymmetric-40",
    "imbalance-100",
    "teacher",
)
Confusions = Literal["fashion", "next"]

# What annotators, and networks, mix up: T-shirt and shirt, pullover and coat, sneaker and ankle
# boot, each both ways, and sandals with sneakers. Trousers, dresses and bags keep their labels.
FASHION = {0: 6, 6: 0, 2: 4, 4: 2, 7: 9, 9: 7, 5: 7}
_IMBALANCE = 100


def confusions(kind: Confusions, classes: int) -> dict[int, int]:
    """Return what each source class is mistaken for.

    Raises:
        UserError: If Fashion-MNIST's confusions are asked for with another number of classes.
    """
    if kind == "next":
        return {c: (c + 1) % classes for c in range(classes)}
    if classes != 10:
        raise UserError(
            f"--confusions fashion is for the 10 classes of Fashion-MNIST, and these data have "
            f"{classes}; use --confusions next."
        )
    return dict(FASHION)


def pool_counts(noise: str, labels: Tensor, pool: int, reserved: int, seed: int) -> list[int]:
    """Return how many images of each class the pool has.

    As many of each, but under imbalance: frequencies then fall exponentially, the largest class
    has exactly 100 times the images of the smallest, which classes are rare is drawn per seed, and
    the total is as near to ``pool`` as the data and that ratio allow.

    Args:
        noise: Its name.
        labels: ``(N,)`` true labels of all training images.
        pool: Images in all.
        reserved: Images of each class that the pool must leave to other sets.
        seed: What the order of the classes depends on.

    Raises:
        UserError: If a class has too few images for the ratio.
    """
    classes = int(labels.max()) + 1
    if noise != f"imbalance-{_IMBALANCE}":
        return [per_class("--pool", pool, classes)] * classes
    shares = [_IMBALANCE ** (1 - k / (classes - 1)) for k in range(classes)]
    available = int(torch.bincount(labels).min()) - reserved
    smallest = min(max(1, round(pool / sum(shares))), available // _IMBALANCE)
    if smallest < 1:
        raise UserError(
            f"imbalance-{_IMBALANCE} needs at least {_IMBALANCE} images of each class for the "
            f"pool, and these data leave {available}. Choose other --noises."
        )
    ranked = [round(smallest * share) for share in shares]
    order = torch.randperm(classes, generator=generator(seed, "rare classes")).tolist()
    return [ranked[rank] for rank in order]


def corrupt(noise: str, truth: Tensor, classes: int, pairs: Mapping[int, int], seed: int) -> Tensor:
    """Return labels with the noise in them; ``truth`` is left as it is.

    Args:
        noise: ``symmetric-P``: P % of the labels are another class, drawn uniformly.
            ``asymmetric-P``: P % of the labels of each class in ``pairs`` are its partner.
            ``imbalance-R``: true labels.
        truth: ``(N,)`` true labels.
        classes: Number of classes.
        pairs: What each source class is mistaken for.
        seed: What the choice depends on.

    Raises:
        ValueError: If there is no such noise.
    """
    found = re.fullmatch(r"(symmetric|asymmetric|imbalance)-(\d+)", noise)
    if found is None:
        raise ValueError(f"no such noise: {noise!r}.")
    kind, share = found[1], int(found[2]) / 100
    labels, stream = truth.clone(), generator(seed, f"noise {noise}")
    if kind == "symmetric":
        wrong = _some(torch.arange(len(truth)), share, stream)
        shift = torch.randint(1, classes, (len(wrong),), generator=stream)
        labels[wrong] = (truth[wrong] + shift) % classes
    elif kind == "asymmetric":
        for source, target in pairs.items():
            labels[_some((truth == source).nonzero().flatten(), share, stream)] = target
    return labels


def rarer_half(counts: Sequence[int]) -> list[int]:
    """Return the classes with the fewest images, ⌊classes / 2⌋ of them."""
    return sorted(range(len(counts)), key=lambda c: counts[c])[: math.floor(len(counts) / 2)]


def _some(indices: Tensor, share: float, stream: torch.Generator) -> Tensor:
    order = torch.randperm(len(indices), generator=stream)
    return indices[order[: round(share * len(indices))]]
