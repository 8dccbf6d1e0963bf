"""What scripts share: points, drawings, photographs, a network, accuracy, small pictures."""

from __future__ import annotations

import io
import math
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Arguments of a Hugging Face Trainer that prints little and writes nothing.
QUIET_TRAINER: Any = {"save_strategy": "no", "logging_strategy": "no", "report_to": "none"}
QUIET_TRAINER |= {"disable_tqdm": True, "use_cpu": True, "lr_scheduler_type": "constant"}
PIXELS = torch.arange(32 * 32).view(1, 1, 32, 32)
SHAPES = ("disc", "ring", "square", "frame", "triangle", "plus", "cross", "bars")
SIDE = 32


def moons(count: int, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return points on two half-moons, ``(count, 2)``, and which moon, ``(count,)``."""
    moon = torch.arange(count) % 2
    angle = torch.rand(count, generator=random) * torch.pi
    x = torch.where(moon == 0, angle.cos(), 1 - angle.cos())
    y = torch.where(moon == 0, angle.sin(), 0.5 - angle.sin())
    points = torch.stack([x - 0.5, y - 0.25], dim=1)
    return points + 0.15 * torch.randn(count, 2, generator=random), moon


def moons_labelled(count: int, random: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Return points, classes, and labels: one in ten is wrong, and most of those in one corner."""
    x, truth = moons(count, random)
    corner = (x[:, 0] > 0.6) & (x[:, 1] < 0.1)
    wrong = torch.rand(count, generator=random) < torch.where(corner, 0.8, 0.1)
    return x, truth, torch.where(wrong, 1 - truth, truth)


def draw(shape: int, random: torch.Generator) -> Tensor:
    """Return a shape, ``(1, 32, 32)``, somewhere, of some size, on a noisy ground."""
    place, size, turn, light = torch.rand(4, generator=random).tolist()
    axis = torch.linspace(-1, 1, SIDE)
    y, x = torch.meshgrid(axis - 0.6 * (place - 0.5), axis + 0.5 * (turn - 0.5), indexing="ij")
    angle = 0.5 * (turn - 0.5)
    x, y = x * math.cos(angle) - y * math.sin(angle), x * math.sin(angle) + y * math.cos(angle)
    x, y = x / (0.45 + 0.25 * size), y / (0.45 + 0.25 * size)
    far, wide = (x * x + y * y).sqrt(), torch.maximum(x.abs(), y.abs())
    thin = torch.minimum(x.abs(), y.abs()) < 0.25
    slanted = torch.minimum((x - y).abs(), (x + y).abs()) < 0.35
    inside = (
        *(far < 1, (far < 1) & (far > 0.6), wide < 0.9, (wide < 0.9) & (wide > 0.55)),
        *((y < 0.8) & (x.abs() < (y + 1) / 2), thin & (far < 1), slanted & (far < 1)),
        (wide < 0.9) & ((3 * y).round() % 2 == 0),
    )[shape]
    ground = 0.35 * torch.rand(SIDE, SIDE, generator=random)
    return torch.where(inside, 0.45 + 0.5 * light, ground).unsqueeze(0)


def lesions(count: int, random: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Return images, right masks, and masks as given, ``(count, 1, 32, 32)`` each."""
    middle, radius = (torch.rand(2, count, k, 1, 1, generator=random) for k in (2, 2))
    down, across = (PIXELS // 32 - 6 - 20 * middle[0]), (PIXELS % 32 - 6 - 20 * middle[1])
    inside = (down**2 + across**2).sqrt() < 3 + 4 * radius[0]
    bright, truth = inside[:, :1], inside.any(dim=1, keepdim=True)
    image = 0.35 * truth + 0.25 * bright + 0.15 * torch.randn(truth.shape, generator=random)
    forgets = torch.rand(count, 1, 1, 1, generator=random) < 0.6
    return image, truth.long(), torch.where(forgets, bright, truth).long()


def photographs(folder: Path, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return images of CIFAR-10N (``train.npz``), the label somebody gave each, and the truth."""
    import numpy as np
    from PIL import Image

    with np.load(folder / "train.npz") as file:
        jpeg, ends = file["jpeg"].tobytes(), file["offsets"][: count + 1]
        images = [np.asarray(Image.open(io.BytesIO(jpeg[a:b]))) for a, b in pairwise(ends)]
        given, truth = (torch.tensor(file[k][:count]) for k in ("random_label1", "clean_label"))
    return torch.tensor(np.stack(images)).permute(0, 3, 1, 2) / 255, given.long(), truth.long()


def convnet(channels: int, classes: int) -> nn.Module:
    """Return a small network for images of 32 × 32."""
    return nn.Sequential(
        *(nn.Conv2d(channels, 16, 5, 2, 2), nn.ReLU(), nn.Conv2d(16, 32, 5, 2, 2), nn.ReLU()),
        *(nn.MaxPool2d(2), nn.Flatten(), nn.Linear(512, 64), nn.ReLU(), nn.Linear(64, classes)),
    )


def accuracy(model: nn.Module, inputs: Tensor, labels: Tensor) -> float:
    """Return which share of the inputs a model puts into the right class."""
    with torch.no_grad():
        return float((model(inputs).argmax(dim=1) == labels).double().mean())


def save(figure: Figure, path: Path) -> Path:
    """Write a figure as a PNG of at most 128 colours, and return its path."""
    from PIL import Image  # scripts without a picture need neither it nor matplotlib

    path.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100, bbox_inches="tight")
    Image.open(buffer).convert("RGB").quantize(128).save(path, optimize=True)
    print(f"picture: {path}")
    return path
