"""A folder of four IDX files as tensors."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.errors import UserError
from benchmarks.sets.idx import find_idx, read_idx


@dataclass(frozen=True, eq=False)
class Images:
    """Images and true labels, as they are on disk.

    Attributes:
        images: ``(N, H, W)`` training images, bytes.
        labels: ``(N,)``, 0 to ``classes`` - 1.
        test_images: ``(M, H, W)``, bytes.
        test_labels: ``(M,)``.
        classes: Number of classes.
        digest: Of all four, to tell data sets apart.
    """

    images: Tensor
    labels: Tensor
    test_images: Tensor
    test_labels: Tensor
    classes: int
    digest: str


def read_images(folder: Path) -> Images:
    """Read the four files under their usual names.

    Raises:
        UserError: If one is missing or damaged, or if they do not fit together.
    """
    if not folder.is_dir():
        raise UserError(f"--data {folder} is not a folder; give the one that holds the IDX files.")
    digest = hashlib.blake2b(digest_size=8)
    tensors = []
    for part in ("train", "t10k"):
        for kind, dimensions in (("images-idx3-ubyte", 3), ("labels-idx1-ubyte", 1)):
            array = read_idx(find_idx(folder, f"{part}-{kind}"), dimensions)
            digest.update(str(array.shape).encode())
            digest.update(array.tobytes())
            tensors.append(torch.from_numpy(array.copy()))
    images, labels, test_images, test_labels = tensors
    for part, pictures, marks in (
        ("train", images, labels),
        ("t10k", test_images, test_labels),
    ):
        if len(pictures) != len(marks) or not len(marks):
            raise UserError(
                f"{folder}: {part} has {len(pictures)} images and {len(marks)} labels; they must "
                f"be as many, and at least one."
            )
    if images.shape[1:] != test_images.shape[1:]:
        raise UserError(
            f"{folder}: training images are {tuple(images.shape[1:])} pixels, test images "
            f"{tuple(test_images.shape[1:])}; they must be alike."
        )
    classes = int(max(labels.max(), test_labels.max())) + 1
    absent = [c for c in range(classes) if not bool((labels == c).any())]
    if classes < 2 or absent:
        raise UserError(
            f"{folder}: the training labels must run from 0 without gaps, over at least 2 classes; "
            f"the largest is {classes - 1}, absent are {absent or 'none'}."
        )
    return Images(
        images, labels.long(), test_images, test_labels.long(), classes, digest.hexdigest()
    )
