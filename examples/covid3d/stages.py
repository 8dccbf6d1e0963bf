"""The stages between preparation and report."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from examples.covid3d.config import Config
from examples.covid3d.files import read_arrays, write_arrays
from examples.covid3d.inference import lesion_probability, load_network
from examples.covid3d.metrics import dice
from examples.covid3d.network import initial_network
from examples.covid3d.patches import LabelledScan, PatchSampler
from examples.covid3d.prepare import load_expert_mask, load_prepared, load_sources
from examples.covid3d.run_folder import RunFolder
from examples.covid3d.students import METHODS, EqualWeights, Reweighted
from examples.covid3d.training import Objective, train

# Streams of random numbers, so that no two samplers share one.
_TEACHER, _PSEUDO, _TRUSTED = 1, 2, 3


@dataclass(frozen=True)
class Context:
    """What every stage is given.

    Attributes:
        run: The run folder, with the settings.
        device: Where to compute.
    """

    run: RunFolder
    device: torch.device

    @property
    def config(self) -> Config:
        """The settings."""
        return self.run.config


def _expert_scans(context: Context, role: str) -> list[LabelledScan]:
    folder = context.run.folder("prepare")
    scans = []
    for source in load_sources(folder, role):
        mask = load_expert_mask(folder, source.name)
        if mask is None:
            raise ValueError(f"{source.name} has no expert mask")
        scans.append(LabelledScan(source.name, load_prepared(folder, source.name).image, mask))
    return scans


def _pseudo_scans(context: Context) -> list[LabelledScan]:
    prepared, labels = context.run.folder("prepare"), context.run.folder("pseudo-label")
    return [
        LabelledScan(
            source.name,
            load_prepared(prepared, source.name).image,
            read_arrays(labels / f"{source.name}.npz")["mask"],
        )
        for source in load_sources(prepared, "unlabelled")
    ]


def _sampler(context: Context, scans: list[LabelledScan], stream: int) -> PatchSampler:
    config = context.config
    return PatchSampler(
        scans, config.patch, config.batch_size, config.foreground, config.seed, stream
    )


def _validator(context: Context, model: nn.Module) -> Callable[[], float]:
    """Mean Dice on the whole trusted scans, with little overlap to be quick."""
    scans = _expert_scans(context, "trusted")

    def validate() -> float:
        scores = []
        for scan in scans:
            probability = lesion_probability(model, scan.image, context.config.patch, 0.25)
            scores.append(dice((probability > 0.5).numpy(), scan.mask))
        return float(np.mean(scores))

    return validate


def train_teacher(context: Context, folder: Path) -> None:
    """Stage ``teacher``: trains on the teacher's scans with expert masks (Step 1 of Fig. 1)."""
    config = context.config
    model = initial_network(config.seed, context.device)
    sampler = _sampler(context, _expert_scans(context, "teacher"), _TEACHER)
    train(
        model,
        EqualWeights(model, sampler, context.device),
        _validator(context, model),
        config=config,
        steps=config.teacher_steps,
        folder=folder,
        title="teacher",
    )


def label_unlabelled(context: Context, folder: Path) -> None:
    """Stage ``pseudo-label``: the teacher labels the unlabelled scans (Step 2 of Fig. 1)."""
    network = load_network(context.run.folder("teacher") / "weights.pt", context.device)
    prepared = context.run.folder("prepare")
    for source in tqdm(load_sources(prepared, "unlabelled"), desc="pseudo-label", unit="scan"):
        path = folder / f"{source.name}.npz"
        if path.exists():
            continue
        image = load_prepared(prepared, source.name).image
        probability = lesion_probability(
            network, image, context.config.patch, context.config.overlap
        )
        write_arrays(path, mask=(probability > 0.5).numpy().astype(np.uint8))


def _student_at_start(context: Context) -> nn.Module:
    if context.config.student_start == "teacher":
        return load_network(context.run.folder("teacher") / "weights.pt", context.device)
    return initial_network(context.config.seed, context.device)


def train_students(context: Context, folder: Path) -> None:
    """Stage ``student``: one student for each method (Step 3 of Fig. 1).

    All start from the same state, by ``student_start`` the teacher's initial one or its last, and
    see the same pseudo-labelled batches in the same order; those that reweight see trusted batches
    besides.
    """
    config = context.config
    noisy = _sampler(context, _pseudo_scans(context), _PSEUDO)
    trusted = _sampler(context, _expert_scans(context, "trusted"), _TRUSTED)
    for method in config.methods:
        model = _student_at_start(context)
        objective: Objective
        if METHODS[method].options is None:
            objective = EqualWeights(model, noisy, context.device)
        else:
            objective = Reweighted(method, model, noisy, trusted, context.device, config.seed)
        train(
            model,
            objective,
            _validator(context, model),
            config=config,
            steps=config.student_steps,
            folder=folder / method,
            title=f"student, {METHODS[method].label}",
        )
