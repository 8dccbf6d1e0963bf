"""From a setup, which is what a measurement depends on, to the problem it stands for."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch

from benchmarks.meta_step.problem import Batch, Problem
from benchmarks.meta_step.registry import MODELS, Model

__all__ = ["MODELS", "Model", "Setup", "build_problem", "describe"]


@dataclass(frozen=True)
class Setup:
    """One model at one size on one device: what a measurement depends on.

    Attributes:
        model: Its name in :data:`MODELS`.
        size: What it means is the model's to say.
        batch: Noisy samples, C_p.
        trusted_batch: Trusted samples, C_v.
        device: As ``torch.device`` reads it.
        dtype: Of parameters and inputs, by its name in ``torch``.
        amp: Dtype of autocast by its name in ``torch``, or ``None``.
        compile: Whether the trained model is compiled.
        seed: Of the initial weights and the data.
        threads: CPU threads, or ``None`` for PyTorch's own choice.
    """

    model: str
    size: int
    batch: int
    trusted_batch: int
    device: str = "cpu"
    dtype: str = "float32"
    amp: str | None = None
    compile: bool = False
    seed: int = 0
    threads: int | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the attributes by name."""
        return asdict(self)


def describe(setup: Setup, parameters: int) -> str:
    """Return the setup in one line of words."""
    batch = f"{setup.batch} noisy + {setup.trusted_batch} trusted"
    words = [MODELS[setup.model].describes.format(size=setup.size, batch=batch)]
    words += [f"{parameters:,} parameters", setup.dtype]
    words += [f"autocast to {setup.amp}"] if setup.amp else []
    words += ["compiled"] if setup.compile else []
    return ", ".join([*words, f"seed {setup.seed}"])


def build_problem(setup: Setup) -> Problem:
    """Return the problem, the same for the same setup."""
    if setup.threads is not None:
        torch.set_num_threads(setup.threads)
    model = MODELS[setup.model]
    device, dtype = torch.device(setup.device), getattr(torch, setup.dtype)
    torch.manual_seed(setup.seed)
    module = model.build(setup.size).to(device, dtype)

    def batch(count: int) -> Batch:
        with device:  # a batch that fills a card would take the CPU long to draw
            inputs, labels = model.sample(count, setup.size)
        inputs = inputs.to(device, dtype if inputs.is_floating_point() else None)
        return inputs, labels.to(device)

    return Problem(
        module,
        batch(setup.batch),
        batch(setup.trusted_batch),
        loss=model.loss,
        amp=getattr(torch, setup.amp) if setup.amp else None,
        compiled=setup.compile,
    )
