"""What is varied: one quantity at a time, over a range."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from benchmarks.meta_step.networks import Transformer, build_mlp
from benchmarks.meta_step.problem import Batch, Problem

_CLASSES, _FEATURES, _WORDS, _TOKENS = 10, 784, 1000, 32


@dataclass(frozen=True)
class Axis:
    """One quantity, and the problem at each of its values.

    Attributes:
        label: The quantity in words.
        held: What is kept the same.
        values: The default values, ascending.
        build: From value, device and seed to the problem.
    """

    label: str
    held: str
    values: tuple[int, ...]
    build: Callable[[int, torch.device, int], Problem]


def _transformer(depth: int, noisy: int, trusted: int, device: torch.device, seed: int) -> Problem:
    torch.manual_seed(seed)
    network = Transformer(_WORDS, _CLASSES, depth=depth)

    def batch(count: int) -> Batch:
        words = torch.randint(0, _WORDS, (count, _TOKENS), device=device)
        return words, torch.randint(0, _CLASSES, (count,), device=device)

    return Problem(network.to(device), batch(noisy), batch(trusted))


def _mlp(width: int, depth: int, batch: int, device: torch.device, seed: int) -> Problem:
    torch.manual_seed(seed)
    network: nn.Module = build_mlp(_FEATURES, _CLASSES, width, depth)

    def vectors() -> Batch:
        labels = torch.randint(0, _CLASSES, (batch,), device=device)
        return torch.randn(batch, _FEATURES, device=device), labels

    return Problem(network.to(device), vectors(), vectors())


def width_for(parameters: int) -> int:
    """Return the width at which an MLP of 3 hidden layers has about so many parameters."""
    outer = _FEATURES + _CLASSES + 3  # parameters are 2 w² + outer w + classes
    width = (-outer + math.sqrt(outer**2 + 8 * parameters)) / 4
    return max(1, round(width))


AXES: dict[str, Axis] = {
    "noisy-batch": Axis(
        "noisy samples C_p",
        "transformer of 2 blocks, 32 tokens, 32 trusted samples",
        (4, 8, 16, 32, 64, 128, 256),
        lambda value, device, seed: _transformer(2, value, 32, device, seed),
    ),
    "trusted-batch": Axis(
        "trusted samples C_v",
        "transformer of 2 blocks, 32 tokens, 32 noisy samples",
        (4, 8, 16, 32, 64, 128, 256),
        lambda value, device, seed: _transformer(2, 32, value, device, seed),
    ),
    "parameters": Axis(
        "parameters",
        "MLP, 3 hidden layers, 32 + 32 samples",
        (1_000_000, 3_000_000, 10_000_000, 30_000_000, 100_000_000),
        lambda value, device, seed: _mlp(width_for(value), 3, 32, device, seed),
    ),
    "mlp-depth": Axis(
        "hidden layers of an MLP",
        "width 512, 32 + 32 samples",
        (2, 4, 8, 16, 32),
        lambda value, device, seed: _mlp(512, value, 32, device, seed),
    ),
    "transformer-depth": Axis(
        "blocks of a transformer",
        "128 features, 32 tokens, 8 + 8 samples",
        (2, 4, 8, 16, 32),
        lambda value, device, seed: _transformer(value, 8, 8, device, seed),
    ),
}
"""By name."""
