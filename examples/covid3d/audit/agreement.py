"""How far a given mask agrees with what the network would have drawn, and how they differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from examples.covid3d.audit.judgement import Judgement, Verdict
from examples.covid3d.measure.metrics import dice

_BETTER = 0.15
_LARGER = 1.35
_MAD = 1.4826


def measured(
    given: NDArray[np.uint8],
    probability: NDArray[np.float32],
    spacing: Sequence[float],
    memory: Mapping[str, float],
) -> dict[str, float]:
    """Numbers of one scan.

    Args:
        given: The mask in question, (X, Y, Z).
        probability: The network's, of foreground.
        spacing: Voxel size, mm.
        memory: What the training says of the scan.
    """
    mask, model = given.astype(bool), probability > 0.5
    own = dice(mask, model)
    offset = _middle(model) - _middle(mask) if mask.any() and model.any() else np.zeros(3)
    moved = np.roll(mask, np.rint(offset).astype(int), (0, 1, 2))
    inside = int((mask & model).sum())
    return {
        "dice": own,
        "given_voxels": float(mask.sum()),
        "model_voxels": float(model.sum()),
        "given_outside_model": float(mask.sum() - inside) / max(1.0, float(mask.sum())),
        "model_outside_given": float(model.sum() - inside) / max(1.0, float(model.sum())),
        "offset_mm": float(np.linalg.norm(offset * np.asarray(spacing))),
        "dice_moved": dice(moved, model),
        "dice_mirrored": max(dice(np.flip(mask, axis), model) for axis in range(3)),
        **memory,
    }


def _middle(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    middle: NDArray[np.float64] = np.argwhere(mask).mean(0)
    return middle


def judge(numbers: Mapping[str, Mapping[str, float]], trusted: Sequence[str]) -> Verdict:
    """Judges every scan by how far the trusted ones agree with the network.

    Args:
        numbers: Of each scan, by name; see :func:`measured`.
        trusted: Names of those that are right.
    """
    known = np.array([numbers[name]["dice"] for name in trusted])
    middle = float(np.median(known))
    spread = max(0.02, _MAD * float(np.median(np.abs(known - middle))))
    limit = middle - 3 * spread
    judgements = []
    for name, own in numbers.items():
        quality = float(1 / (1 + np.exp(-(own["dice"] - limit) / spread)))
        doubt = _word(own) if own["dice"] < limit else ""
        judgements.append(Judgement(name, quality, doubt, own, name in set(trusted)))
    judgements.sort(key=lambda one: (one.quality, one.scan))
    return Verdict(judgements, [f"Their Dice with the network's masks is {middle:.2f} (median)."])


def _word(own: Mapping[str, float]) -> str:
    if not own["given_voxels"]:
        return "empty"
    if own["dice_mirrored"] > own["dice"] + _BETTER:
        return "mirrored"
    if own["dice_moved"] > own["dice"] + _BETTER:
        return "shifted"
    if own["given_voxels"] > _LARGER * own["model_voxels"]:
        return "over-drawn" if own["model_outside_given"] < 0.2 else "invented"
    if own["model_voxels"] > _LARGER * own["given_voxels"]:
        return "under-drawn" if own["given_outside_model"] < 0.2 else "missed"
    return "another patient's"
