"""What several scripts share: points, drawn shapes, accuracy, pictures that take little room."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from matplotlib.figure import Figure

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
