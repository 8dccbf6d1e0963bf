"""The paper's 3D U-Net on MR volumes whose outlines are partly misplaced."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import torch
from nibabel.filebasedimages import ImageFileError
from torch import Tensor, nn

from benchmarks.agreement.task import Task, draws
from benchmarks.errors import UserError
from support.unet import build_network

_SIDE, _BATCH, _TRUSTED, _NOISY = 32, 8, 16, 48
_MISPLACED, _FURTHEST, _RATE = 0.6, 8, 1e-3


def hippocampus(folder: Path, seed: int) -> Task:
    """Return the task, on the first 64 volumes of ``imagesTr`` and ``labelsTr``.

    Trained on the central 32³ voxels, one class. In 60 % of the noisy volumes the outline is
    shifted, by up to 8 voxels along each axis.

    Raises:
        UserError: If the folder is not laid out so, or holds too few volumes.
    """
    paths = sorted((folder / "imagesTr").glob("[!.]*.nii.gz"))
    needed = _TRUSTED + _NOISY
    if len(paths) < needed:
        raise UserError(
            f"{folder} must hold {needed} volumes as imagesTr/NAME.nii.gz and labelsTr/NAME.nii.gz "
            f"(Task04_Hippocampus of the Medical Segmentation Decathlon); found {len(paths)}."
        )
    chosen = paths[:needed]
    images = torch.stack([_standardised(_centre(path)) for path in chosen])[:, None]
    masks = torch.stack([_centre(folder / "labelsTr" / path.name) > 0 for path in chosen]).long()
    stream = torch.Generator().manual_seed(seed)
    trusted, noisy = slice(_TRUSTED), slice(_TRUSTED, None)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build_network()
    return Task(
        f"Hippocampus MR, {_MISPLACED:.0%} of the outlines misplaced, the paper's 3D U-Net, Adam "
        f"at {_RATE:g}, {_BATCH} + {_BATCH} volumes of {_SIDE}³, {_TRUSTED} trusted",
        model,
        nn.CrossEntropyLoss(reduction="none"),
        torch.optim.Adam(model.parameters(), lr=_RATE),
        draws(
            (images[noisy], _misplaced(masks[noisy], stream)),
            (images[trusted], masks[trusted]),
            _BATCH,
            seed,
        ),
    )


def _centre(path: Path) -> Tensor:
    """Return the central cube of a volume, zeros around what is smaller."""
    try:
        volume = np.asarray(nibabel.load(path).dataobj, dtype=np.float32)
    except (OSError, ValueError, ImageFileError) as error:
        raise UserError(f"{path} cannot be read as a NIfTI volume: {error}") from error
    missing = [max(0, _SIDE - side) for side in volume.shape]
    volume = np.pad(volume, [(side // 2, side - side // 2) for side in missing])
    starts = [(side - _SIDE) // 2 for side in volume.shape]
    return torch.from_numpy(
        np.ascontiguousarray(volume[tuple(slice(start, start + _SIDE) for start in starts)])
    )


def _standardised(volume: Tensor) -> Tensor:
    return (volume - volume.mean()) / volume.std().clamp(min=1e-6)


def _misplaced(masks: Tensor, stream: torch.Generator) -> Tensor:
    moved = masks.clone()
    for k in range(len(masks)):
        if float(torch.rand((), generator=stream)) < _MISPLACED:
            shift = torch.randint(-_FURTHEST, _FURTHEST + 1, (3,), generator=stream)
            moved[k] = torch.roll(masks[k], tuple(shift.tolist()), (0, 1, 2))
    return moved
