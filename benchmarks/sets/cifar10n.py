"""CIFAR-10N: photographs, with the labels that people gave them (Wei et al. 2022)."""

from __future__ import annotations

import hashlib
import io
import itertools
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.errors import UserError
from benchmarks.sets.network import build_network
from benchmarks.sets.problem import Labelled, Problem
from benchmarks.sets.setting import Setting
from benchmarks.sets.splits import split

_LABELS = {"worse": "worse_label", "random1": "random_label1"}


class Cifar10N:
    """Two files, ``train.npz`` and ``test.npz``: JPEG images, and labels by who gave them.

    Args:
        folder: Where they are.

    Raises:
        UserError: If one is missing or damaged, or Pillow is not installed.
    """

    def __init__(self, folder: Path) -> None:
        digest = hashlib.blake2b(digest_size=8)
        self._images: dict[str, Tensor] = {}
        self._labels: dict[str, dict[str, Tensor]] = {}
        for part in ("train", "test"):
            path = folder / f"{part}.npz"
            try:
                with np.load(path) as content:
                    packed = {name: content[name] for name in content.files}
                names = ["clean_label", *(_LABELS.values() if part == "train" else ())]
                labels = {name: torch.from_numpy(packed[name]).long() for name in names}
                images = _unpack(packed["jpeg"].tobytes(), packed["offsets"])
            except (OSError, ValueError, KeyError) as error:
                raise UserError(f"{path} cannot be read as CIFAR-10N ({error}).") from error
            digest.update(packed["jpeg"].tobytes())
            for name in names:
                digest.update(packed[name].tobytes())
            self._images[part], self._labels[part] = images, labels
        self.digest = digest.hexdigest()

    def problem(self, setting: Setting, trusted: int, seed: int) -> Problem:
        """Return photographs and labels of a task.

        Raises:
            UserError: If the data are too few.
        """
        truth = self._labels["train"]["clean_label"]
        classes = int(truth.max()) + 1
        counts = [setting.pool // classes] * classes
        parts = split(truth, counts, setting.validation, trusted, seed)
        pixels = self._images["train"][parts.pool].float()
        mean = pixels.mean((0, 2, 3), keepdim=True)
        deviation = pixels.std((0, 2, 3), keepdim=True).clamp(min=1e-6)

        def labelled(part: str, indices: Tensor, labels: str = "clean_label") -> Labelled:
            images = (self._images[part][indices].float() - mean) / deviation
            return images, self._labels[part][labels][indices]

        def network(seed: int, purpose: str) -> nn.Module:
            _, height, width = pixels.shape[1:]
            return build_network(height, width, classes, seed, purpose, channels=3)

        return Problem(
            pool=labelled("train", parts.pool, _LABELS[setting.noise]),
            truth=truth[parts.pool],
            trusted=labelled("train", parts.trusted),
            validation=labelled("train", parts.validation),
            test=labelled("test", torch.arange(len(self._images["test"]))),
            classes=classes,
            network=network,
        )


def _unpack(packed: bytes, offsets: np.ndarray) -> Tensor:
    try:
        from PIL import Image
    except ImportError as error:
        raise UserError("CIFAR-10N is in JPEG files: pip install pillow.") from error
    images = [
        np.asarray(Image.open(io.BytesIO(packed[begin:end])).convert("RGB"))
        for begin, end in itertools.pairwise(offsets)
    ]
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous()
